"""Who may sign in and how: the identity file, OpenID providers, sealed cookies."""
