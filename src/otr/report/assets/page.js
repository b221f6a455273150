"use strict";
{
  const button = document.getElementById("scheme");
  const root = document.documentElement;
  const isDark = () => root.dataset.scheme
    ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    root.dataset.scheme = isDark() ? "light" : "dark";
    name();
  });
}
// In a frame, the page around it has the heading and the choice of the scheme.
if (window.self !== window.top) document.documentElement.dataset.framed = "";
