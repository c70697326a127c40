// A job's log in a page, as the portal sends it: the last lines of it, and no run of the script.
//
// Text of a job is only ever put in as text. What is shown stays while the connection is away, and
// goes on from where it was; a page that nobody looks at holds no connection, since a browser has
// only six of them for one address.

const MOST_LINES = 2000
const MOST_CHARACTERS = 10000 // of one line
const ALOUD_LINES = 5 // more at once are not read out: nobody could follow
const SILENT_MS = 35000 // three signs of life that did not come
const RETRY_MS = [1000, 2000, 5000, 10000, 30000]
const NEAR_PIXELS = 8

// Colours and movements of a terminal (ECMA-48): CSI, OSC and the short ones.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-Z\\^-~])/g
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g
const TURNING = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g // would show text in another order

const WORDS = {
  pending: "It waits for its GPUs.",
  starting: "It is starting.",
  running: "Following.",
  stopping: "It is being stopped. Following.",
  succeeded: "Complete: the job succeeded.",
  failed: "Complete: the job failed.",
  stopped: "Complete: the job was stopped.",
}

const PAUSED = "Paused where you read; the log goes on below."

// Return a line as a terminal would leave it: what a carriage return wrote over is gone.
function shown(raw) {
  const line = raw.replace(/\r+$/, "")
  const plain = line
    .slice(line.lastIndexOf("\r") + 1)
    .replace(ESCAPES, "")
    .replace(CONTROLS, (one) => (one === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + one.charCodeAt(0))))
    .replace(TURNING, "\ufffd")
  return plain.length > MOST_CHARACTERS ? plain.slice(0, MOST_CHARACTERS) + " …" : plain
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false })

// The lines on the page: a ring of them, scrolled along while the reader is at its end.
function paper(root, paused) {
  const box = root.querySelector(".lines")
  const end = root.querySelector(".end")
  const cut = root.querySelector(".cut")
  let tail = "" // the line that has not ended yet, as it came
  let last = null // its element
  let follows = true
  let unread = 0

  function toEnd() {
    if (!follows) paused(false)
    follows = true
    unread = 0
    end.hidden = true
    box.scrollTop = box.scrollHeight
  }
  box.addEventListener("scroll", () => {
    if (box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PIXELS) {
      toEnd()
      return
    }
    if (follows) paused(true)
    follows = false
    offer()
  })
  end.addEventListener("click", () => {
    toEnd()
    box.focus()
  })
  // A tab that is opened again, or a box that is drawn larger, is at its end as before.
  new ResizeObserver(() => follows && toEnd()).observe(box)

  function offer() {
    end.hidden = follows
    end.textContent = unread ? `Go on following (${unread.toLocaleString()} new lines)` : "Go on following"
  }

  function element(text, kind) {
    const line = document.createElement("div")
    line.className = kind
    line.textContent = text
    return line
  }

  // While somebody reads above, the lines that they read are not taken from under them at once.
  function trim() {
    const most = follows ? MOST_LINES : 3 * MOST_LINES
    let over = box.childElementCount - most
    if (over <= 0) return
    while (over-- > 0) box.firstElementChild.remove()
    cut.textContent = `Only the last ${most.toLocaleString()} lines are shown.`
    cut.hidden = false
  }

  function put(elements, count) {
    box.setAttribute("aria-live", count > ALOUD_LINES ? "off" : "polite")
    box.append(...elements)
    trim()
    if (follows) box.scrollTop = box.scrollHeight
    else {
      unread += count
      offer()
    }
  }

  return {
    add(text) {
      const parts = (tail + text).split("\n")
      tail = parts.pop()
      const over = tail.slice(0, -1).lastIndexOf("\r")
      if (over > 0) tail = tail.slice(over)
      if (tail.length > 2 * MOST_CHARACTERS) tail = tail.slice(0, MOST_CHARACTERS) + " …"
      last?.remove()
      last = tail ? element(shown(tail), "line") : null
      const whole = parts.slice(-MOST_LINES).map((part) => element(shown(part), "line"))
      put(last ? [...whole, last] : whole, parts.length)
    },
    note(text) {
      tail = ""
      last = null
      put([element(text, "line note")], 1)
    },
    empty(text) {
      box.dataset.empty = text
    },
  }
}

// One job's log: where it is read from, how far, and what is told of how that goes.
function follower(root, address) {
  const lines = paper(root, (isPaused) => {
    // What went wrong is more to be known than where one reads.
    if (isPaused && said.textContent === steady()) say(PAUSED)
    else if (!isPaused && said.textContent === PAUSED) say(steady())
  })
  const said = root.querySelector(".said")
  const again = root.querySelector(".again")
  let source = null
  let timer = 0
  let watch = 0
  let offset = 0
  let tries = 0
  let aliveAt = Date.now()
  let over = false
  let state = ""
  let tell = () => {}

  const steady = () => WORDS[state] ?? "Following."
  const say = (text) => {
    if (said.textContent !== text) said.textContent = text
  }
  const stop = (text) => {
    over = true
    close()
    say(text)
  }
  function inState(now) {
    state = now
    say(steady())
    lines.empty(now === "pending" ? "No output yet: the job has not started." : "No output yet.")
    tell(now)
  }

  const heard = {
    lines: (data) => lines.add(data.text),
    skipped: (data) =>
      lines.note(`… ${(data.bytes / 1e6).toFixed(1)} MB are passed over here; the whole log has them …`),
    state: (data) => inState(data.state),
    beat: () => {},
    away: (data) => say(`No answer from the hub since ${clock(data.since)}. What is shown stays; it goes on by itself.`),
    back: () => say(steady()),
    end: (data) => {
      lines.empty("The job wrote nothing.")
      stop(WORDS[data.state] ?? "Complete.")
      tell(data.state)
    },
    stop: (data) => refused(data.status, data.why),
  }

  function refused(status, why) {
    if (status !== 401) {
      stop(`This log is no longer shown: ${why}`)
      return
    }
    stop("Your session has ended, so nothing more is shown here. The job is not affected.")
    again.href = "/auth/start?next=" + encodeURIComponent(location.pathname + location.search)
    again.target = "_self"
    again.hidden = false
  }

  function open() {
    if (over || source || document.hidden) return
    aliveAt = Date.now()
    source = new EventSource(offset ? `${address}?after=${offset}` : address)
    for (const [name, does] of Object.entries(heard)) {
      source.addEventListener(name, (event) => {
        if (over) return
        aliveAt = Date.now()
        tries = 0
        if (event.lastEventId) offset = Number(event.lastEventId)
        does(JSON.parse(event.data))
      })
    }
    source.onerror = lost
    watch = setInterval(() => Date.now() - aliveAt > SILENT_MS && lost(), 5000)
  }

  function close() {
    clearTimeout(timer)
    clearInterval(watch)
    source?.close()
    source = null
  }

  // A browser does not say why a stream did not open, so it is asked for by its head.
  async function lost() {
    close()
    if (over || document.hidden) return
    say(`No connection since ${clock(aliveAt)}. What is shown stays; it goes on by itself.`)
    const wait = RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]
    const since = aliveAt
    try {
      const answer = await fetch(address, { method: "HEAD", cache: "no-store" })
      if ([401, 403, 404].includes(answer.status)) {
        // The head of an answer has no words; whoever is refused is given them, and no stream.
        const why = await fetch(address, { cache: "no-store" })
        if (!why.ok) {
          refused(why.status, await why.text())
          return
        }
        why.body.cancel()
      }
    } catch {
      // nobody there: it is tried again below
    }
    timer = setTimeout(() => {
      open()
      aliveAt = since
    }, wait)
  }

  document.addEventListener("visibilitychange", () => {
    if (!root.host?.isConnected) return
    if (document.hidden) close()
    else open()
  })
  lines.empty("Looking for output …")
  return {
    address,
    open,
    close,
    // Tell the page's script once of each state that it does not show yet.
    from(drawn, trigger) {
      let told = drawn
      tell = (now) => {
        if (now && now !== told) trigger("state", (told = now))
      }
    },
  }
}

// Streamlit calls this at each run of the page; one element has one follower for its whole life.
export default function ({ data, parentElement: root, setTriggerValue }) {
  if (root.follower?.address !== data.follow) {
    root.follower?.close()
    root.querySelector(".lines").replaceChildren()
    root.follower = follower(root, data.follow)
  }
  root.querySelector(".lines").setAttribute("aria-label", `Log of ${data.name}`)
  root.querySelector(".whole").href = data.whole
  root.follower.from(data.state, setTriggerValue)
  root.follower.open()
  return () => root.follower.close()
}
