"""What the hub does by itself: plan (cycle), watch the clock (watch), and keep both going."""
