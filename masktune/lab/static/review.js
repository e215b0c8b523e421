// A person's word on each kind of evidence: a card, three keys.

const WORDS = { shortcut: "a shortcut", object: "the object", unsure: "unsure" };
const VERDICT_KEYS = { 1: "shortcut", 2: "object", 3: "unsure" };

export class Review {
  constructor(root, host) {
    Object.assign(this, { root, host, history: [], cards: [] });
    this.options = host.get("options");
    this.judgements = { ...host.get("judgements") };
    this.build();
    host.listen("judgements", () => {
      this.judgements = { ...host.get("judgements") };
      this.tell();
    });
    host.listen("summary", () => this.tell());
    this.ready = this.paint();
    this.tell();
  }

  build() {
    const { options, root } = this;
    this.headline = make("p", { class: "mt-headline" }, spaced(options.finding));
    this.judged = make("p", { class: "mt-count" });
    this.status = make("p", { class: "mt-status", role: "status" });
    this.back = make("button", { type: "button", class: "mt-small", onclick: () => this.undo() }, "undo (u)");
    dress(root, options.title, "review");
    const list = make("ul", { class: "mt-kinds" }, ...options.kinds.map((kind) => this.card(kind)));
    const live = "Keys on a card: 1 a shortcut, 2 the object, 3 unsure, u takes the last word back.";
    const keys = this.host.live ? live : "As it was saved: run the cell to judge.";
    root.replaceChildren(
      this.headline,
      this.judged,
      make("p", { class: "mt-made" }, keys),
      list,
      make("div", { class: "mt-foot" }, this.status, this.host.live ? this.back : null),
      make("p", { class: "mt-made" }, options.made),
    );
  }

  card(kind) {
    const buttons = Object.entries(VERDICT_KEYS).map(([key, verdict]) =>
      make(
        "button",
        {
          type: "button",
          class: "mt-verdict",
          "data-verdict": verdict,
          disabled: !this.host.live,
          onclick: () => this.judge(kind.name, verdict),
        },
        `${key} ${WORDS[verdict]}`,
      ),
    );
    const named = (about) => `${nameOf(about)} of ${kind.label}, its evidence outlined`;
    const pictures = kind.images.map((about) => make("canvas", { role: "img", "aria-label": named(about) }));
    const words = kind.sentences.map((sentence) => make("p", {}, spaced(sentence)));
    const element = make(
      "li",
      { class: "mt-kind", tabindex: 0, "aria-label": `kind ${kind.name}` },
      titled(kind.name),
      make("div", { class: "mt-sheet" }, ...pictures),
      make("div", { class: "mt-facts" }, ...words),
      make("div", { class: "mt-line", role: "group", "aria-label": `what ${kind.name} is` }, ...buttons),
    );
    element.addEventListener("keydown", (event) => this.press(event, kind.name));
    this.cards.push({ kind, element, buttons, pictures });
    return element;
  }

  press(event, name) {
    const verdict = VERDICT_KEYS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(verdict || event.key === "u")) return;
    event.preventDefault();
    event.stopPropagation();
    if (verdict) this.judge(name, verdict);
    else this.undo();
  }

  judge(name, verdict) {
    if (!this.host.live) return;
    this.history.push([name, this.judgements[name]]);
    this.judgements = { ...this.judgements, [name]: verdict };
    this.host.judge(this.judgements);
    this.tell();
    const open = this.cards.filter((card) => !(card.kind.name in this.judgements));
    const at = this.cards.findIndex((card) => card.kind.name === name);
    const next = open.find((card) => this.cards.indexOf(card) > at) ?? open[0];
    next?.element.focus(); // ten judgements take a minute
  }

  undo() {
    const last = this.history.pop();
    if (!last) return;
    const [name, verdict] = last;
    const { [name]: _, ...others } = this.judgements;
    this.judgements = verdict === undefined ? others : { ...others, [name]: verdict };
    this.host.judge(this.judgements);
    this.tell();
    this.cards.find((card) => card.kind.name === name).element.focus();
  }

  tell() {
    for (const { kind, element, buttons } of this.cards) {
      const said = this.judgements[kind.name];
      element.classList.toggle("mt-judged", said !== undefined);
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.verdict === said));
    }
    const count = this.cards.filter((card) => card.kind.name in this.judgements).length;
    const shortcuts = this.cards
      .filter((card) => this.judgements[card.kind.name] === "shortcut")
      .map((card) => card.kind.name);
    const named = shortcuts.length ? ` Shortcuts: ${shortcuts.join(", ")}.` : "";
    this.judged.textContent = `${count} of ${this.cards.length} kinds of evidence judged.${named}`;
    this.status.textContent = spaced(this.host.get("summary")?.status);
    this.back.disabled = !this.history.length;
  }

  async paint() {
    const { rule, page } = this.options;
    for (const { kind, pictures } of this.cards) {
      for (const [place, about] of kind.images.entries()) {
        const picture = await new Picture(about, page).load();
        picture.measure(rule.name, rule.strength);
        const shown = new Shown(picture, 96 * Math.min(window.devicePixelRatio || 1, 3));
        shown.hide();
        shown.drawHidden(pictures[place]);
      }
    }
  }

  close() {}
}

PANELS.review = Review;
