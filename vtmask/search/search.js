// The player of the search page. Without this script, a click opens the file at its second.

const find = (selector) => document.querySelector(selector);
const player = find("#player"), video = find("#player video"), notice = find(".notice");
const figure = find(".curve"), curve = find(".curve svg"), now = find("#now");
const cards = [...document.querySelectorAll(".moment")];
const asked = find("#results").dataset.asked;
const SVG = "http://www.w3.org/2000/svg";

let shown = -1; // which card
let offset = 0; // of a stream: the second that it starts at
let streamed = false; // whether the server has to convert the video
let scores = null; // of the video that is shown: {seconds_per_score, curves}

const clock = (seconds) => {
  const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};

const length = () => {
  const lengths = scores ? Object.values(scores.curves).map((c) => c.length) : [];
  return lengths.length ? Math.max(...lengths) * scores.seconds_per_score : video.duration + offset;
};

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

function open(index) {
  shown = index;
  const { video: id, name, path, start, end } = cards[index].dataset;
  find("#watched").textContent = `${name}, ${clock(start)}–${clock(end)}`;
  find("#watched").title = path;
  find("#like").href = `/?like=${id}:${start}:${end}`;
  find("#cut").href = `/clip/${id}?start=${start}&end=${end}`;
  find("#previous").disabled = index === 0;
  find("#next").disabled = index === cards.length - 1;
  say("");
  streamed = false;
  video.hidden = false;
  load(Number(start));
  if (!player.open) player.showModal();
  video.focus();
  draw(id, Number(start), Number(end));
}

function load(second) {
  const id = cards[shown].dataset.video;
  offset = streamed ? second : 0;
  video.dataset.offset = offset;
  video.src = streamed ? `/stream/${id}?start=${second}` : `/video/${id}`;
  if (!streamed) video.addEventListener("loadedmetadata", () => (video.currentTime = second), { once: true });
  video.play().catch(() => {}); // browsers may want a click first
}

function seek(second) {
  if (streamed) load(second);
  else video.currentTime = second;
}

// What the browser can't play, the server converts; it also knows if the file is gone.
async function convert() {
  if (!player.open || !video.src) return;
  const id = cards[shown].dataset.video;
  const answer = await fetch(`/video/${id}`, { headers: { Range: "bytes=0-0" } }).catch(() => null);
  if (answer && answer.ok && !streamed) {
    streamed = true;
    say("This browser can't play the file, so it is converted while you watch.");
    load(Number(cards[shown].dataset.start));
    return;
  }
  video.hidden = true;
  say(!answer ? "The server does not respond. Is `vtmask serve` still running?"
    : answer.ok ? "The video can't be decoded." : await answer.text());
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function draw(id, start, end) {
  scores = null;
  figure.hidden = true;
  if (!asked) return;
  const answer = await fetch(`/curve/${id}?${asked}`).catch(() => null);
  if (!answer || !answer.ok || cards[shown].dataset.video !== id) return;
  scores = await answer.json();
  const names = Object.keys(scores.curves);
  const all = Object.values(scores.curves).flat();
  const low = Math.min(...all), range = Math.max(...all) - low || 1, total = length();
  const x = (second) => (1000 * second) / total;
  const lines = names.map((name, i) => element("polyline", {
    style: `stroke: var(--c${i % 6})`,
    points: scores.curves[name].map((score, place) =>
      `${x((place + 0.5) * scores.seconds_per_score)},${94 - (88 * (score - low)) / range}`).join(" "),
  }));
  const cursor = element("line", { id: "cursor", y1: 0, y2: 100 });
  curve.replaceChildren(element("rect", { x: x(start), y: 0, width: x(end - start), height: 100 }), ...lines, cursor);
  find("#keys").replaceChildren(...names.map((name, i) => {
    const key = document.createElement("span");
    key.className = "key";
    key.style.setProperty("--colour", `var(--c${i % 6})`);
    key.textContent = `${name}\u2003`;
    return key;
  }));
  curve.setAttribute("aria-valuemin", 0);
  curve.setAttribute("aria-valuemax", Math.round(total));
  figure.hidden = false;
  move();
}

function move() {
  const cursor = find("#cursor");
  if (!scores || !cursor) return;
  const second = video.currentTime + offset, at = (1000 * second) / length();
  cursor.setAttribute("x1", at);
  cursor.setAttribute("x2", at);
  const place = Math.floor(second / scores.seconds_per_score);
  const told = Object.values(scores.curves).map((c) => c[Math.min(place, c.length - 1)].toFixed(2));
  now.textContent = `${clock(second)} of ${clock(length())} · ${told.join(" · ")}`;
  curve.setAttribute("aria-valuenow", Math.round(second));
  curve.setAttribute("aria-valuetext", now.textContent);
}

cards.forEach((card, index) => card.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(index);
}));

video.addEventListener("error", convert);
video.addEventListener("loadedmetadata", () => video.videoWidth === 0 && convert());
video.addEventListener("timeupdate", move);
player.addEventListener("close", () => {
  video.pause();
  video.removeAttribute("src");
  video.load();
  cards[shown].focus();
});
find("#close").addEventListener("click", () => player.close());
player.addEventListener("click", (event) => event.target === player && player.close());
find("#previous").addEventListener("click", () => open(shown - 1));
find("#next").addEventListener("click", () => open(shown + 1));
curve.addEventListener("click", (event) => {
  const box = curve.getBoundingClientRect();
  seek((length() * (event.clientX - box.left)) / box.width);
});
curve.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
  if (!step) return;
  event.preventDefault();
  seek(Math.min(Math.max(video.currentTime + offset + step, 0), length()));
});

const add = find("#add");
const texts = () => document.querySelectorAll('input[name="q"]');
add.hidden = texts().length >= Number(add.dataset.most);
add.addEventListener("click", () => {
  const input = texts()[0].cloneNode();
  input.value = "";
  input.setAttribute("aria-label", `Text ${texts().length + 1}`);
  find(".texts").append(input);
  input.focus();
  add.hidden = texts().length >= Number(add.dataset.most);
});
// Fields that are as they are by default need not be in the address.
find("form").addEventListener("formdata", (event) => {
  const data = event.formData, given = [...data].filter(([, value]) => value && value !== "both");
  for (const name of new Set(data.keys())) data.delete(name);
  for (const [name, value] of given) data.append(name, value);
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (player.open) {
    if (event.key === "n" && shown < cards.length - 1) open(shown + 1);
    if (event.key === "p" && shown > 0) open(shown - 1);
    return;
  }
  const at = cards.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === "/") {
    event.preventDefault();
    texts()[0].focus();
    texts()[0].select();
  } else if (step && cards.length) {
    event.preventDefault();
    cards[Math.min(Math.max(at + step, 0), cards.length - 1)].focus();
  }
});
