"use strict";
(() => {
  const data = document.querySelector("#seconds"), plot = document.querySelector("#timeline");
  if (!data || !plot) return;
  const { left, right, begin, end, names, rows } = JSON.parse(data.textContent);
  const cursor = document.querySelector("#cursor"), told = document.querySelector("#told");
  const away = () => { cursor.hidden = told.hidden = true; };
  plot.addEventListener("pointerleave", away);
  plot.addEventListener("pointermove", (event) => {
    const svg = [...plot.querySelectorAll("svg")].find((one) => one.getClientRects().length), box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width, inside = svg.viewBox.baseVal.width - left - right;
    const share = ((event.clientX - box.left) * scale - left) / inside;
    if (share < 0 || share > 1) return away();
    const at = begin + share * (end - begin);
    const row = rows.reduce((near, one) => Math.abs(one[0] + 0.5 - at) < Math.abs(near[0] + 0.5 - at) ? one : near);
    const list = document.createElement("dl");
    names.forEach((name, index) => {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = name;
      value.textContent = row[index + 1] ?? "none";
      list.append(term, value);
    });
    told.replaceChildren(list);
    cursor.hidden = told.hidden = false;
    const x = event.clientX - plot.getBoundingClientRect().left;
    cursor.style.left = `${x}px`;
    told.style.left = `${x > plot.clientWidth / 2 ? x - told.offsetWidth - 14 : x + 14}px`;
  });
})();
