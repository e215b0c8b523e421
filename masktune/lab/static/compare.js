// Two models on the same images: what each says, how sure it is, and what it looks at.

class CompareCard extends GalleryCard {
  constructor(panel, about, pictures) {
    super(panel, about, [null, ...pictures.slice(1).map(() => make("span", { class: "mt-scale" }))]);
    this.pictures = pictures; // the image, then one with each model's map
    const { classes, names } = panel.options;
    const said = (place) => {
      const [answer, share] = about.says[place];
      return [`${names[place]}: ${classes[answer]} ${sure(share)} `, verdictOf(answer === about.label)];
    };
    const moved = about.moved === null ? "" : `${whole(about.moved)} of the heat moved`;
    const [low, high] = about.heights.map((height) => short(height.toPrecision(2)));
    const heights = about.heights.length ? `map's height ${low} \u2192 ${high}${moved ? `; ${moved}` : ""}` : "";
    this.say(`is ${classes[about.label]}`, said(0), said(1), ...(heights ? [heights] : []));
    this.element.classList.toggle("mt-flipped", about.says[0][0] !== about.says[1][0]);
  }

  draw(width) {
    if (this.width === width) return;
    this.width = width;
    this.pictures.forEach((picture, i) => paintPicture(picture, this.canvases[i], width, i > 0));
  }

  large() {
    const { about, panel } = this;
    const { classes, groups, names } = panel.options;
    const figures = this.pictures.map((picture, i) => {
      const canvas = make("canvas", {});
      paintPicture(picture, canvas, 480, i > 0);
      const height = i ? `; its height is ${short(about.heights[i - 1].toPrecision(3))}` : "";
      return figureOf(canvas, `${i ? `map, ${names[i - 1]}` : "image"}${height}`);
    });
    const answers = names.map((name, i) => {
      const [answer, share] = about.says[i];
      return [name, `${classes[answer]} ${percent(share)}, ${answer === about.label ? "right" : "wrong"}`];
    });
    const terms = termsOf([
      ["image", about.path ?? `number ${about.index}`],
      ["class", classes[about.label]],
      ["group", groups[about.group]],
      ...answers,
      ["what changed", about.case],
      ["heat that moved", about.moved === null ? null : percent(about.moved)],
    ]);
    return [make("div", { class: "mt-large" }, ...figures), terms];
  }
}

function paintPicture(picture, canvas, width, heat) {
  const shown = new Shown(picture, width);
  if (heat) shown.drawOver(canvas);
  else shown.drawImage(canvas);
}

class Compare extends Gallery {
  above() {
    const { options } = this;
    this.headline.textContent = spaced(options.headline);
    const cases = Object.entries(options.cases).map(([name, count]) =>
      make(
        "button",
        { type: "button", class: "mt-chip", "data-case": name, onclick: () => this.set({ verdict: name, page: 1 }) },
        `${name} (${counted(count)})`,
      ),
    );
    this.chips = make("div", { class: "mt-line", role: "group", "aria-label": "what changed" }, ...cases);
    const table = scroller("accuracy, by group", "", groupsTable(options.names, options.rows, options.sure));
    return [make("div", { class: "mt-top mt-start" }, table, this.means()), this.chips];
  }

  // each class's mean map, of both models
  means() {
    const { means, names } = this.options;
    if (!means.length) return null;
    const rows = means.map(({ name, maps }) => {
      const canvases = maps.map(({ map, grid }) => {
        const canvas = make("canvas", {});
        heatOf(canvas, mapOf(map), grid, 96);
        return canvas;
      });
      const figures = canvases.map((canvas, i) => figureOf(canvas, names[i]));
      const heading = make("figcaption", {}, `${name}: mean maps`);
      return make("figure", { class: "mt-mean-map" }, heading, make("div", { class: "mt-pair" }, ...figures));
    });
    return make("div", { class: "mt-means" }, ...rows);
  }

  listed(name) {
    return name !== "verdict"; // the chips above are that
  }

  alone(name) {
    return super.alone(name) || name === "verdict";
  }

  keeps(about) {
    const { verdict } = this.controls;
    return super.keeps(about) && (verdict === "all" || about.case === verdict);
  }

  follow() {
    for (const chip of this.chips.children) {
      chip.setAttribute("aria-pressed", String(chip.dataset.case === this.controls.verdict));
    }
  }

  async card(about, page) {
    const parts = [{ map: null }, ...about.maps.map((map, i) => ({ map, grid: page.grids[i] }))];
    const pictures = parts.map(({ map, grid }) => {
      const empty = map === null ? { ...about, map: "AAA=" } : { ...about, map };
      return new Picture(empty, { ...page, grid: grid ?? [1, 1] }).load();
    });
    return new CompareCard(this, about, await Promise.all(pictures));
  }
}

PANELS.compare = Compare;
