{
  const SVG = "http://www.w3.org/2000/svg";
  const NEAR = 28;
  const figures = [...document.querySelectorAll("figure.drawn")];
  const studyOf = (figure) => figure.closest("section").id.match(/^g\d+-/)?.[0] ?? "";
  const element = (name, className, text = "") => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };

  // Numbers: the figure's own CSV, row by row with its place in the drawing.
  const rowsOf = (figure) => {
    const bytes = atob(figure.querySelector("a[download]").href.split(",")[1]);
    const text = new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
    const rows = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
      rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
      if (end !== ",") rows.push([]);
    }
    return rows.filter((row) => row.length > 1);
  };

  const hidden = new Map(figures.map((figure) => [studyOf(figure), new Set()]));
  const clear = [];

  for (const figure of figures) {
    const svg = figure.querySelector("svg");
    const gone = hidden.get(studyOf(figure));
    const points = figure.dataset.places.split(";").filter(Boolean).map((place, row) => {
      const [method, x, y] = place.split(" ").map(Number);
      return { method, x, y, row };
    });
    let header, rows, shown = null;
    const tip = element("div", "tip");
    tip.setAttribute("role", "status");
    tip.hidden = true;
    figure.append(tip);
    const ring = document.createElementNS(SVG, "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", 7);
    ring.setAttribute("hidden", "");
    svg.append(ring);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", svg.querySelector("title").textContent);
    // The browser's own tip would lie over ours.
    svg.querySelector("title").remove();
    svg.tabIndex = 0;

    const show = (point) => {
      if (point === shown) return;
      shown = point;
      tip.hidden = !point;
      ring.toggleAttribute("hidden", !point);
      if (!point) return;
      if (!rows) [header, ...rows] = rowsOf(figure);
      const values = rows[point.row];
      tip.replaceChildren(element("strong", "", values[0]));
      for (let column = 1; column < values.length; column++) {
        if (values[column]) tip.append(element("div", "", `${header[column]}: ${values[column].replace(/^-(?=\d)/, "\u2212")}`));
      }
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      const seen = new DOMPoint(point.x, point.y).matrixTransform(svg.getScreenCTM());
      const frame = figure.getBoundingClientRect();
      const left = seen.x - frame.left, top = seen.y - frame.top;
      const width = tip.offsetWidth;
      tip.style.left = `${Math.max(0, left + 14 + width > frame.width ? left - 14 - width : left + 14)}px`;
      tip.style.top = `${top - tip.offsetHeight / 2}px`;
    };
    clear.push(() => show(null));

    svg.addEventListener("pointermove", (event) => {
      const matrix = svg.getScreenCTM();
      let nearest = null, least = NEAR ** 2;
      for (const point of points) {
        if (gone.has(point.method)) continue;
        const x = matrix.a * point.x + matrix.e - event.clientX;
        const y = matrix.d * point.y + matrix.f - event.clientY;
        if (x * x + y * y < least) [nearest, least] = [point, x * x + y * y];
      }
      show(nearest);
    });
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return show(null);
      if (event.target !== svg) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const seen = points.filter((point) => !gone.has(point.method));
      if (!step || !seen.length) return;
      event.preventDefault();
      let at = seen.indexOf(shown) + step;
      if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        // To the next method's first point.
        at = seen.findIndex((point, i) => i !== seen.indexOf(shown) && point.method === nextMethod(seen, step));
      }
      show(seen[Math.min(seen.length - 1, Math.max(0, at))]);
    });
    const nextMethod = (seen, step) => {
      const methods = [...new Set(seen.map((point) => point.method))];
      const at = shown ? methods.indexOf(shown.method) + step : 0;
      return methods[Math.min(methods.length - 1, Math.max(0, at))];
    };
  }

  // Names: each a switch for its method in all of the study's figures.
  const apply = (study) => {
    const gone = hidden.get(study);
    for (const figure of figures.filter((each) => studyOf(each) === study)) {
      for (const part of figure.querySelectorAll("[data-m]")) {
        part.toggleAttribute("hidden", gone.has(Number(part.dataset.m)));
      }
      for (const part of figure.querySelectorAll("[data-l], [data-t]")) {
        const off = gone.has(Number(part.dataset.l ?? part.dataset.t));
        part.classList.toggle("off", off);
        if (part.dataset.t) part.setAttribute("aria-pressed", String(!off));
      }
    }
    for (const each of clear) each();
  };
  for (const figure of figures) {
    const study = studyOf(figure), gone = hidden.get(study);
    const names = [...figure.querySelectorAll("[data-t]")];
    const all = names.map((name) => Number(name.dataset.t));
    for (const part of figure.querySelectorAll("[data-l], [data-t]")) {
      const method = Number(part.dataset.l ?? part.dataset.t);
      const change = () => {
        if (!gone.delete(method)) gone.add(method);
        apply(study);
      };
      part.classList.add("switch");
      part.addEventListener("click", change);
      part.addEventListener("dblclick", () => {
        const others = all.filter((other) => other !== method);
        const alone = others.every((other) => gone.has(other));
        gone.clear();
        if (!alone) for (const other of others) gone.add(other);
        apply(study);
      });
      if (!part.dataset.t) continue;
      part.setAttribute("tabindex", "0");
      part.setAttribute("role", "button");
      part.setAttribute("aria-pressed", "true");
      part.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        change();
      });
    }
  }
  figures[0]?.before(element("p", "quiet only-screen",
    "Point at a figure for its numbers. Click a name to hide it everywhere, double-click to see it alone."));

  // Steps or seconds: one of the two views of a curve.
  for (const section of new Set(figures.filter((each) => each.dataset.axis).map((each) => each.closest("section")))) {
    const curves = [...section.querySelectorAll("figure[data-axis]")].filter((each) => each.dataset.axis);
    const kinds = [...new Set(curves.map((each) => each.dataset.axis))];
    if (kinds.length < 2) continue;
    const choice = element("fieldset", "only-screen choice");
    choice.append(element("legend", "", "against"));
    const choose = (kind) => {
      for (const each of curves) each.hidden = each.dataset.axis !== kind;
    };
    for (const kind of kinds) {
      const label = element("label", "", ` ${kind === "step" ? "steps" : kind}`);
      const input = document.createElement("input");
      input.type = "radio";
      input.name = `${section.id}-axis`;
      input.value = kind;
      input.checked = kind === kinds[0];
      input.addEventListener("change", () => choose(kind));
      label.prepend(input);
      choice.append(label);
    }
    curves[0].before(choice);
    choose(kinds[0]);
  }
}
