
(() => {
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));

  // grey levels of a picture, 0 .. 255, in rows
  const kept = new WeakMap();
  const levels = (image) => {
    if (!kept.has(image)) {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
      kept.set(image, Uint8Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]));
    }
    return kept.get(image);
  };

  // what a map cut at a grey level says of the case: its Dice, or how much of a healthy slice it flags
  const verdict = (map, truth, level) => {
    const values = levels(map), lesion = truth ? levels(truth) : null;
    let found = 0, hit = 0, size = 0;
    values.forEach((value, at) => {
      found += value > level;
      if (lesion) { size += lesion[at] > 127; hit += value > level && lesion[at] > 127; }
    });
    return lesion ? `Dice ${(200 * hit / (found + size)).toFixed(1)}` : `${(100 * found / values.length).toFixed(1)} % flagged`;
  };

  // cutting: one level for all browsers, a share of each map's own scale; 0 shows the maps
  let level = 0;
  const browsers = all(".browser");
  const tell = () => {
    for (const figure of all(".browser article:not([hidden]) figure.map")) {
      const value = figure.querySelector(".value"), map = figure.querySelector("img");
      value.dataset.whole ??= value.textContent;
      const truth = figure.closest("article").querySelector(".truth img");
      if (!level || !map.complete) value.textContent = value.dataset.whole;
      else value.textContent = ` > ${(level / 255 * figure.dataset.top).toPrecision(3)} · ${verdict(map, truth, level)}`;
    }
  };
  const cut = (percent) => {
    level = Math.round(percent * 2.55);
    const table = Array.from({ length: 256 }, (_, value) => Number(value > level)).join(" ");
    for (const channel of all("#cut feComponentTransfer > *")) channel.setAttribute("tableValues", table);
    document.body.classList.toggle("is-cut", level > 0);
    for (const slider of all(".slider input")) {
      slider.value = String(percent);
      slider.nextElementSibling.textContent = level ? `${percent} %` : "off";
    }
    tell();
  };

  // cases: one at a time, chosen by list, strip, buttons, arrow keys or the address
  const showing = new Map();
  for (const browser of browsers) {
    const cases = all("article.case", browser), select = browser.querySelector("select");
    const strip = browser.querySelector(".strip");
    let current = 0;
    const show = (index, keep = true) => {
      current = (index + cases.length) % cases.length;
      cases.forEach((one, at) => { one.hidden = at !== current; });
      select.value = String(current);
      all("button", strip).forEach((one, at) => {
        one.setAttribute("aria-pressed", String(at === current));
        if (at === current && keep) {
          strip.scrollLeft = one.offsetLeft - strip.offsetLeft - (strip.clientWidth - one.offsetWidth) / 2;
        }
      });
      tell();
      // a page opened from a place that forbids it keeps its address
      if (keep) try { history.replaceState(null, "", `#${cases[current].id}`); } catch { /* as it is */ }
    };
    cases.forEach((one, at) => {
      showing.set(one.id, () => show(at));
      const button = document.createElement("button");
      const picture = one.querySelector(".input .picture").cloneNode(true);
      const path = picture.querySelector("path");
      if (path) path.removeAttribute("id");
      picture.querySelector("img").alt = one.dataset.title;
      button.type = "button";
      button.title = one.dataset.title;
      button.append(...picture.childNodes);
      button.addEventListener("click", () => show(at));
      strip.append(button);
    });
    select.addEventListener("change", () => show(Number(select.value)));
    browser.querySelector(".picker .previous").addEventListener("click", () => show(current - 1));
    browser.querySelector(".picker .next").addEventListener("click", () => show(current + 1));
    browser.querySelector(".slider input").addEventListener("input", (event) => cut(Number(event.target.value)));
    browser.querySelector(".truths").addEventListener("change", (event) => {
      browser.classList.toggle("no-truth", !event.target.checked);
    });
    browser.addEventListener("keydown", (event) => {
      const other = event.target.matches("select, input");
      if (other || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      show(current + (event.key === "ArrowRight" ? 1 : -1));
      event.preventDefault();
    });
    show(0, false);
  }
  const follow = () => {
    const id = decodeURIComponent(location.hash.slice(1)), show = showing.get(id);
    if (!show) return;
    show();
    document.getElementById(id).scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();

  // enlarged pictures, with the case's others a key away
  const zoom = document.getElementById("zoom");
  let pictures = [], place = 0;
  const enlarge = (at) => {
    place = (at + pictures.length) % pictures.length;
    const picture = pictures[place], figure = picture.closest("figure");
    const large = document.createElement("figure");
    large.className = figure.className;
    large.append(...Array.from(picture.childNodes, (node) => node.cloneNode(true)));
    for (const path of all("path", large)) path.removeAttribute("id");
    zoom.querySelector(".zoomed").replaceChildren(large);
    const head = figure.closest(".panel, .fail").querySelector("h5");
    const name = [head.firstChild.textContent, head.querySelector("small").textContent].filter(Boolean).join(" · ");
    zoom.querySelector("span").textContent = `${name}: ${figure.querySelector("figcaption").textContent}`;
    zoom.classList.toggle("no-truth", Boolean(figure.closest(".browser.no-truth")));
  };
  for (const picture of all("article .picture")) {
    picture.title = "Enlarge";
    picture.addEventListener("click", () => {
      pictures = all(".picture", picture.closest("article"));
      enlarge(pictures.indexOf(picture));
      zoom.showModal();
    });
  }
  zoom.querySelector(".previous").addEventListener("click", () => enlarge(place - 1));
  zoom.querySelector(".next").addEventListener("click", () => enlarge(place + 1));
  zoom.querySelector(".close").addEventListener("click", () => zoom.close());
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
  zoom.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    enlarge(place + (event.key === "ArrowRight" ? 1 : -1));
    event.preventDefault();
  });
})();
