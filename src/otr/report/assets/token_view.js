for (const view of document.querySelectorAll(".tv")) {
  const panel = view.querySelector(".tv-panel");
  const tokens = [...view.querySelectorAll(".tv-token")];
  let shown = view.querySelector(".tv-token.tv-on");
  let kept = false;
  for (const token of tokens) token.tabIndex = token === shown ? 0 : -1;

  const show = (token) => {
    if (token === shown) return;
    shown.classList.remove("tv-on");
    shown.tabIndex = -1;
    token.classList.add("tv-on");
    token.tabIndex = 0;
    shown = token;
    view.classList.add("tv-used");
    const card = document.getElementById(token.hash.slice(1));
    panel.querySelector(".tv-card").replaceChildren(...card.cloneNode(true).childNodes);
    panel.scrollTop = 0;
  };
  const tokenOf = (event) => event.target.closest(".tv-token");

  view.addEventListener("pointerover", (event) => {
    if (tokenOf(event) && !kept) show(tokenOf(event));
  });
  view.addEventListener("focusin", (event) => {
    if (tokenOf(event)) show(tokenOf(event));
  });
  view.addEventListener("click", (event) => {
    if (!tokenOf(event)) return;
    event.preventDefault();
    kept = true;
    show(tokenOf(event));
  });
  view.addEventListener("keydown", (event) => {
    if (event.key === "Escape") kept = false;
    if (!tokenOf(event)) return;
    const at = tokens.indexOf(tokenOf(event));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (to === undefined || !tokens[to]) return;
    event.preventDefault();
    tokens[to].focus();
  });
}
