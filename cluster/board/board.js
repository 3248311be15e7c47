"use strict";
(() => {
  const [every, patience, stale] = [2000, 8000, 10];
  const main = document.querySelector("main"), lost = document.querySelector("#lost"), icon = document.querySelector("link[rel=icon]");
  let tag = "", born = performance.now() - 1000 * main.dataset.age, heard = new Date(), asking = false;

  const show = () => {
    const age = document.querySelector("#age"), seconds = (performance.now() - born) / 1000;
    if (!age) return;
    const live = Boolean(main.querySelector("header").dataset.live) && lost.hidden && seconds < stale;
    age.classList.toggle("live", live);
    age.textContent = live ? `live, ${Math.floor(seconds)} s old` : `looked ${Math.floor(seconds)} s ago`;
  };
  const put = (html) => {
    const held = main.contains(document.activeElement) && document.activeElement.getAttribute("href");
    main.innerHTML = html;
    if (held) main.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  };
  const ask = async () => {
    if (document.hidden || asking) return;
    asking = true;
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const reply = await fetch("main", { headers, cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (reply.status === 200) put(await reply.text());
      else if (reply.status !== 304) throw new Error(reply.status);
      tag = reply.headers.get("ETag");
      born = performance.now() - 1000 * reply.headers.get("Data-Age");
      heard = new Date();
      lost.hidden = true;
      const { title, icon: drawn } = main.querySelector("header").dataset;
      document.title = title;
      icon.href = drawn;
    } catch {
      lost.textContent = `Nothing was heard from the board's own server since ${heard.toLocaleTimeString("en-GB")}. Is ./invoke board still running?`;
      lost.hidden = false;
      document.title = "Not live · Slipway";
    } finally {
      asking = false;
      show();
    }
  };
  show();
  setInterval(ask, every);
  setInterval(show, 1000);
  document.addEventListener("visibilitychange", ask);
})();
