// Evaluates a form while its reader types, and shares its state as a link. Without this script, the form is sent by its button.

const form = document.getElementById("live");
const result = document.getElementById("result");
const status = document.getElementById("status");
const share = document.getElementById("share");
const fields = [...form.elements].filter((field) => field.name);

/** Pause after the last key before the form is evaluated, in milliseconds. */
const PAUSE = 300;
/** More characters are evaluated only by the button. */
const MOST_LIVE = 1 << 20;
/** More characters are not evaluated: an API server accepts no larger request. */
const MOST = 3 << 20;

let timer;
let running;

const size = () => fields.reduce((sum, field) => sum + field.value.length, 0);

function tooLarge(found) {
  status.textContent = `Found ${found} characters; expected at most 3 MiB, because an API server accepts no larger request.`;
}

async function evaluate() {
  clearTimeout(timer);
  running?.abort();
  if (size() > MOST) {
    tooLarge(size());
    result.replaceChildren();
    return;
  }
  const own = (running = new AbortController());
  status.textContent = "Evaluating…";
  try {
    const answer = await fetch(form.dataset.live, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      signal: own.signal,
    });
    const text = await answer.text();
    if (own.signal.aborted) return;
    // The server escaped every text in it; the policy of the page forbids scripts and styles in it.
    result.innerHTML = text;
    status.textContent = document.getElementById("summary")?.textContent ?? "";
  } catch (error) {
    if (!own.signal.aborted) status.textContent = "outrigger ui does not answer; is it still running?";
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  if (size() > MOST_LIVE) {
    status.textContent = "The input is large; press Evaluate.";
  } else {
    timer = setTimeout(evaluate, PAUSE);
  }
});

// A text area takes many seconds to lay out a text that could not be evaluated anyway.
for (const kind of ["paste", "drop"]) {
  form.addEventListener(kind, (event) => {
    const text = (event.clipboardData ?? event.dataTransfer)?.getData("text") ?? "";
    if (text.length > MOST) {
      event.preventDefault();
      tooLarge(text.length);
    }
  });
}

form.addEventListener("submit", (event) => {
  if (event.submitter && "leaves" in event.submitter.dataset) return;
  event.preventDefault();
  evaluate();
});

// Escape hides an explanation until another line is pointed at or focused (WCAG 2.2, 1.4.13).
let last;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.body.classList.add("without-tips");
});
for (const kind of ["focusin", "mouseover"]) {
  document.addEventListener(kind, (event) => {
    const row = event.target.closest?.(".row");
    if (kind === "focusin" || row !== last) document.body.classList.remove("without-tips");
    last = row;
  });
}

// The state of the form is in the fragment, which browsers never send.
const PREFIX = "#form=";

async function piped(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

async function pack(state) {
  const bytes = await piped(new TextEncoder().encode(JSON.stringify(state)), new CompressionStream("deflate-raw"));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function unpack(text) {
  const packed = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(await piped(bytes, new DecompressionStream("deflate-raw"))));
}

const valueOf = (field) => (field.type === "checkbox" ? field.checked : field.value);

share.hidden = false;
share.addEventListener("click", async () => {
  const state = Object.fromEntries(fields.map((field) => [field.name, valueOf(field)]));
  history.replaceState(null, "", PREFIX + (await pack(state)));
  try {
    await navigator.clipboard.writeText(location.href);
    status.textContent = "Link copied";
  } catch {
    status.textContent = "The link is in the address bar";
  }
});

async function restore() {
  if (!location.hash.startsWith(PREFIX)) return;
  try {
    const state = await unpack(location.hash.slice(PREFIX.length));
    for (const field of fields) {
      const value = state[field.name];
      if (typeof value !== typeof valueOf(field)) continue;
      if (typeof value === "boolean") field.checked = value;
      else field.value = value;
    }
  } catch {
    status.textContent = "The link is damaged";
    return;
  }
  await evaluate();
}

window.addEventListener("hashchange", restore);
restore();
