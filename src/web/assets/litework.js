// litework: starts tasks from forms and links, and keeps their status live. Pages work without it.

// What it says, in the words of the page's reader; a page without them works as it does without scripts.
const words = JSON.parse(document.querySelector("meta[name=litework-words]").content);

const BLOCK = "[data-task-status]";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const resolve = (url) => new URL(url, document.baseURI);
const jitter = (ms) => ms * (0.85 + Math.random() * 0.3);
const make = (tag, className, textContent, more) =>
  Object.assign(document.createElement(tag), { className, textContent, ...more });
const closer = (onclick) => make("button", "lw-button", words.close, { onclick });

function link(url, text) {
  const { protocol, href } = resolve(url);
  return make("a", "", text, /^http/.test(protocol) && { href });
}

function leave(url) {
  const { href } = link(url);
  if (href) location.assign(href);
}

const emit = (node, type, detail) =>
  node.dispatchEvent(new CustomEvent("task:" + type, { bubbles: true, cancelable: true, detail }));
const emitEnd = (node, task) => emit(node, task.state === "succeeded" ? "done" : "error", task);

let watches = new Map();
const idOf = (block) => resolve(block.dataset.taskStatus).pathname.split("/").pop();
const blocksOf = ({ id }) => all(BLOCK).filter((block) => idOf(block) === id);
const unended = () => [...watches.values()].filter(({ over }) => !over);

function scan() {
  const before = watches;
  watches = new Map();
  for (const block of all(BLOCK)) {
    const { taskStatus: url, taskEvents: events, taskState: state } = block.dataset;
    const over = /^(succeeded|failed|cancelled|skipped)$/.test(state);
    const id = idOf(block);
    watches.set(id, before.get(id) ?? { id, url, events, state, over, pace: 1000, fails: 0, turn: 0 });
  }
  for (const [id, watch] of before) watch.over ||= !watches.has(id);
  plan();
}

// One stream; a poll for each task that it does not carry.
function plan() {
  const streamed = unended().filter(({ events }) => events);
  const events = document.querySelector("[data-tasks-mine]")?.dataset.tasksMine ?? streamed[0]?.events;
  const ids = streamed.map(({ id }) => id);
  if (document.hidden || !events || !self.EventSource) hangUp();
  else if (stream ? !ids.every((id) => stream.ids.includes(id)) : Date.now() > quiet) connect(resolve(events), ids);
  for (const watch of unended()) if (!watch.timer) schedule(watch);
}

function wake() {
  hangUp();
  quiet = 0;
  for (const watch of document.hidden ? [] : watches.values()) {
    if (watch.hint === words.signed_out) watch.over = false;
    schedule(watch, watch.hint ? 0 : 300);
  }
  plan();
}

function schedule(watch, wait) {
  clearTimeout(watch.timer);
  wait ??= watch.fails ? Math.min(2 ** (watch.fails - 1), 30) * 1000 : watch.pace * (document.hidden ? 5 : 1);
  const idle = watch.over || (!watch.fails && stream?.ready && stream.ids.includes(watch.id));
  watch.timer = idle ? 0 : setTimeout(poll, jitter(wait), watch);
}

// Past the cache, or going back shows JSON.
const ask = (url, Accept) =>
  fetch(url, { headers: { Accept }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(20e3) });

async function poll(watch) {
  const turn = ++watch.turn;
  let answer, task;
  try {
    answer = await ask(watch.url, "application/json");
    task = await answer.json();
  } catch {}
  if (turn !== watch.turn || watch.over) return; // Newer is shown.
  const { status, ok, type } = answer ?? {};
  if (/40[13]/.test(status) || type === "opaqueredirect")
    stop(watch, words.signed_out, link(task?.login ?? location, words.sign_in));
  else if (/404|410/.test(status)) stop(watch, words.gone);
  else if (ok && task) take(watch, task);
  else trouble(watch);
}

function trouble(watch) {
  watch.fails++;
  hint(watch, words.offline);
  schedule(watch);
}

function reached(watch) {
  watch.fails = 0;
  hint(watch);
  schedule(watch);
}

function stop(watch, text, more) {
  watch.over = true;
  hint(watch, text, more);
  for (const block of blocksOf(watch)) emit(block, "lost", watch.last);
  retitle();
}

function hint(watch, text, more) {
  if (text === watch.hint) return;
  const known = text && document.querySelector(BLOCK + " > .lw-notice");
  watch.hint = text;
  for (const block of blocksOf(watch)) {
    note(block, text, more);
    if (!known) say(block, text ?? summary(block));
  }
}

let stream = null;
let quiet = 0; // No new stream before this time.
let refusals = 0;

function connect(url, ids) {
  hangUp();
  if (ids.length) url.searchParams.set("ids", ids);
  const source = new EventSource(url);
  const here = (stream = { source, ids });
  let patience = 3000; // Until hello, which a proxy may hold back.
  const listen = () => {
    clearTimeout(here.timer);
    here.timer = setTimeout(drop, patience);
  };
  const hears = {
    hello({ heartbeat_ms }) {
      patience = (heartbeat_ms ?? 15e3) * 3;
      if (here.ready) return;
      here.ready = true;
      refusals = 0;
      for (const watch of unended()) reached(watch);
    },
    task: (task, watch) => (watch ? take(watch, task) : toast(task).catch(() => {})),
    gone: (_, watch) => watch && stop(watch, words.gone),
    bye: ({ retry_ms }) => drop(retry_ms),
    end: () => drop(2000),
  };
  for (const type in hears)
    source.addEventListener(type, ({ data }) => {
      const message = JSON.parse(data);
      if (here === stream) hears[type](message, watches.get(message.id));
      if (here === stream) listen();
    });
  source.onerror = () => here === stream && drop();
  listen();
}

function hangUp() {
  stream?.source.close();
  clearTimeout(stream?.timer);
  stream = null;
}

function drop(wait) {
  hangUp();
  for (const watch of unended()) schedule(watch, wait ?? 0);
  wait = jitter(wait ?? Math.min(2 ** ++refusals, 300) * 1000);
  quiet = Date.now() + wait;
  setTimeout(plan, wait + 50);
}

async function take(watch, task) {
  watch.turn++;
  watch.next = task;
  watch.pace = task.poll_ms ?? watch.pace;
  if (watch.showing) return;
  watch.showing = true;
  try {
    for (let next; (next = watch.next); settle(watch, next)) {
      watch.next = null;
      if (!blocksOf(watch).every((block) => patch(block, watch.last, next))) await swap(watch, next);
    }
    reached(watch);
  } catch {
    trouble(watch);
  }
  watch.showing = false;
}

const grouped = (value) => `${value}`.replace(/\B(?=(\d{3})+$)/g, words.thousands);
const filled = (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name] ?? "").trim();
const SHAPE = ["actions", "artifacts", "attempt", "children", "open", "message", "level", "waiting", "until"];
const shape = (task) => JSON.stringify(task, SHAPE);

// False where the block needs other elements, not only texts.
function patch(block, last, task) {
  if (block.dataset.taskRev === task.rev) return true;
  if (block.dataset.taskState !== task.state || !last || shape(last) !== shape(task)) return false;
  const { done, total, unit, percent, eta_ms, stage } = task.progress ?? {};
  const long = eta_ms > 54e5;
  const n = Math.ceil(eta_ms / (long ? 36e5 : 6e4));
  const count = { done: grouped(done), total: grouped(total), unit };
  const texts = {
    stage,
    percent: percent != null && percent + " %",
    count: (total != null || done > 0) && filled(total != null ? words.count_of : words.count, count),
    eta: eta_ms && filled(words.eta, { time: filled(long ? words.hours : words.minutes, { n }) }),
    message: task.message?.text,
    waiting: task.waiting?.text,
  };
  const bar = block.querySelector("progress");
  let fits = bar || !task.progress;
  if (bar) bar.parentNode.hidden = !task.progress;
  if (percent == null) bar?.removeAttribute("value");
  else if (bar) bar.value = percent;
  for (const name in texts) {
    const text = texts[name] || "";
    const node = block.querySelector(".lw-" + name);
    fits &&= node || !text;
    if (!node) continue;
    node.hidden = !text;
    if (node.textContent !== text) node.textContent = text;
  }
  if (fits) block.dataset.taskRev = task.rev;
  return fits;
}

async function fragment({ links }) {
  const url = resolve(links.fragment);
  if (url.origin !== location.origin) throw url;
  const answer = await ask(url, "text/html");
  const block = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(BLOCK);
  if (!answer.ok || !block) throw answer;
  return document.adoptNode(block);
}

async function swap(watch, task) {
  const fresh = await fragment(task);
  for (const block of blocksOf(watch)) {
    const copy = fresh.cloneNode(true);
    const live = block.querySelector(".lw-live");
    const { activeElement: at } = document;
    const inside = block.contains(at);
    const text = at.matches(".lw-name") || at.textContent;
    Object.assign(block.dataset, copy.dataset);
    for (const node of [...block.childNodes]) if (node !== live) node.remove();
    if (live) copy.querySelector(".lw-live")?.remove(); // Or what it says is lost.
    block.prepend(...copy.childNodes);
    if (inside) focusOn(block, text);
  }
}

function focusOn(block, text) {
  const name = block.querySelector(".lw-name");
  name.tabIndex = -1;
  const node = all("a, button", block).find(({ textContent }) => textContent === text) ?? name;
  node.focus({ preventScroll: true });
}

function settle(watch, task) {
  const { last } = watch;
  const text = news(watch, task);
  const ended = task.ended && !watch.over;
  watch.last = task;
  watch.over = task.ended;
  retitle();
  for (const block of blocksOf(watch)) {
    say(block, text === true ? summary(block) : text);
    if (last?.rev !== task.rev) emit(block, "update", task);
    if (!ended || !emitEnd(block, task) || !task.redirect) continue;
    const own = location.pathname.endsWith(idOf(block)) && /\bfollow=/.test(location.search);
    if (!own && !("taskFollow" in block.dataset)) continue;
    forget(own ? location.pathname : location); // Or going back leads on again.
    return leave(task.redirect);
  }
}

function news(watch, { state, attempt, progress }) {
  const { percent, stage } = progress ?? {};
  const last = watch.last ?? { state: watch.state, attempt };
  const quarter = Math.floor(percent / 25) || 0;
  const before = watch.quarter ?? quarter;
  watch.quarter = quarter;
  if (!watch.last) watch.stage = stage;
  if (state !== last.state || attempt !== last.attempt) return true;
  if (quarter > before) return quarter * 25 + " %";
  if (!stage || stage === watch.stage || Date.now() < watch.silent) return;
  watch.silent = Date.now() + 10e3;
  return (watch.stage = stage);
}

const summary = (block) =>
  all(".lw-name, .lw-state, .lw-waiting, .lw-message", block)
    .map((part) => part.textContent)
    .join(". ");

function say(block, text) {
  const live = block.querySelector(".lw-live");
  if (live && text) live.textContent = text;
}

function note(host, text, more = "", role = null) {
  host.querySelector(":scope > .lw-notice")?.remove();
  if (!text) return;
  host.append(make("p", "lw-notice", text + " ", { role }));
  host.lastChild.append(more);
}

function retitle() {
  const [watch, more] = unended();
  const percent = more ? null : watch?.last?.progress?.percent;
  const title = (percent == null ? "" : `(${percent} %) `) + document.title.replace(/^\(\d+ %\) /, "");
  if (title !== document.title) document.title = title;
}

function onSubmit(event) {
  const { target: form, submitter: button } = event;
  const block = form.closest(".lw-actions") && form.closest(BLOCK);
  // By attribute: a field named "action" hides the property.
  const setting = (name) => button?.getAttribute("form" + name) ?? form.getAttribute(name) ?? "";
  if (event.defaultPrevented || button?.matches("[data-task-off]")) return;
  if (!(block || form.matches("[data-task]")) || !/post/i.test(setting("method"))) return;
  event.preventDefault();
  if (form.ariaBusy) return;
  const headers = block ? {} : { "Idempotency-Key": once(form) };
  const data = new FormData(form, button);
  const body = /multi/.test(setting("enctype")) ? data : new URLSearchParams(data);
  send(form, button, block, setting("action"), { method: "POST", body, headers });
}

function onClick(event) {
  const host = event.target.closest?.("a[data-task]");
  const other = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!host || host.target || other || event.defaultPrevented) return;
  event.preventDefault();
  if (!host.ariaBusy) send(host, host, null, host.href, { headers: {} });
}

// The same token until it has started a task or the form has changed.
function once(form, renew) {
  let input = form.querySelector("[name=_once]");
  if (!input) form.append((input = make("input", "", "", { type: "hidden", name: "_once" })));
  if (renew || !input.value) input.value = crypto.getRandomValues(new Uint32Array(4)).join("-");
  return input.value;
}

async function send(host, button, block, url, request) {
  const focused = button === document.activeElement;
  const busy = (on) => {
    host.ariaBusy = on;
    if (button) button.disabled = on;
    if (!on && focused && document.activeElement === document.body) button.focus();
  };
  addEventListener("pageshow", () => busy(), { once: true });
  note(block ?? host);
  busy(true);
  request.headers.Accept = "application/json, text/html;q=0.9";
  try {
    const answer = await fetch(resolve(url), request);
    const type = answer.headers.get("Content-Type");
    if (/json/.test(type)) return await answered(answer, host, block, busy);
    // 502 to 504 are a proxy's.
    if (host.href || !/html/.test(type) || answer.status > 501) throw answer;
    replace(await answer.text(), answer.redirected && answer.url);
  } catch {
    busy();
    if (host.href) leave(host.href);
    else note(host, words.unsent, "", "alert");
  }
}

async function answered(answer, host, block, busy) {
  const task = await answer.json();
  const good = answer.ok && task.links;
  if (host.href && !good) throw answer;
  if (good && !block) return started(task, host, busy);
  busy();
  const watch = block && watches.get(idOf(block));
  if (good) return take(watch, task);
  note(block ?? host, task.detail ?? task.title, task.login && link(task.login, words.sign_in), "alert");
  if (block) schedule(watch, 0);
}

async function started(task, host, busy) {
  if (!host.href) once(host, true);
  const { task: mode, taskText, taskNoRedirect } = host.dataset;
  const leads = taskNoRedirect == null;
  const page = resolve(task.links.page);
  if (leads) page.searchParams.set("follow", 1);
  const away = (to) => {
    setTimeout(busy, 3000); // A download does not lead away.
    leave(to);
  };
  if (leads && task.ended && task.redirect) return emitEnd(host, task) ? away(task.redirect) : busy();
  if (mode === "page") return away(page);
  const block = await fragment(task).catch(() => away(page));
  if (!block) return;
  busy();
  if (leads) block.dataset.taskFollow = "";
  block.dataset.taskState = ""; // So its state is news.
  if (mode === "inline") host.after(block);
  else openDialog(block, page, taskText);
}

function openDialog(block, page, text = words.goes_on) {
  const dialog = make("dialog", "lw-dialog");
  const foot = make("p", "lw-dialog-foot", text + " ");
  foot.append(link(page, words.own_page), closer(() => dialog.close()));
  dialog.append(block, foot);
  dialog.setAttribute("aria-labelledby", block.getAttribute("aria-labelledby"));
  dialog.onclose = () => {
    dialog.remove();
    forget();
  };
  addEventListener("pageshow", () => watches.get(idOf(block))?.over && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  focusOn(block);
  history.replaceState({ ...history.state, litework: page.href }, ""); // For a reload.
}

function forget(url) {
  const { litework, ...state } = history.state ?? {};
  history.replaceState(state, "", url);
  return litework;
}

function replace(html, url) {
  if (url) history.pushState(null, "", url);
  document.open();
  document.write(html);
  document.close();
  start(); // Opening the document has taken all listeners away.
  if (url) addEventListener("popstate", () => location.reload());
}

const awaited = new Set();

async function toast(task) {
  if (!task.ended) return awaited.add(task.id);
  if (document.querySelector("[aria-busy=true]")) return setTimeout(toast, 1000, task);
  if (!awaited.delete(task.id) || watches.has(task.id)) return;
  const block = await fragment(task);
  let shelf = document.querySelector(".lw-toasts");
  if (!shelf) document.body.append((shelf = make("div", "lw-toasts", "", { role: "status" })));
  block.append(closer(() => block.remove()));
  shelf.append(block);
}

const observer = new MutationObserver(scan);

function start() {
  addEventListener("submit", onSubmit);
  addEventListener("click", onClick);
  addEventListener("input", ({ target: { form } }) => form?.matches("[data-task]") && once(form, true));
  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  addEventListener("pagehide", hangUp);
  addEventListener("pageshow", ({ persisted }) => persisted && wake());
  observer.observe(document, { childList: true, subtree: true });
  scan();
}

start();
const left = forget();
if (left) {
  history.pushState(null, "", left); // Or this page is lost to the way back.
  location.reload();
}
