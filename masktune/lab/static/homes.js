// Where the instrument lives: a page without a kernel, and a notebook.

function panelOf(root, host) {
  return new PANELS[host.get("options").panel ?? "scrubber"](root, host);
}

// In a page without a kernel: `data` holds options, page, controls, and answers on a grid of thresholds
export function mount(root, data) {
  const host = { live: false, get: (name) => data[name] ?? null, listen() {}, send() {} };
  return panelOf(root, host);
}

// In a notebook: an anywidget's model holds the same, and a kernel answers
export default {
  render({ model, el }) {
    const listeners = [];
    const host = {
      live: true,
      get: (name) => model.get(name),
      listen(name, call) {
        listeners.push([`change:${name}`, call]);
        model.on(`change:${name}`, call);
      },
      send(controls) {
        model.set("controls", controls);
        model.save_changes();
      },
      wish(wishes) {
        model.set("wishes", wishes);
        model.save_changes();
      },
      judge(judgements) {
        model.set("judgements", judgements);
        model.save_changes();
      },
      pick(selected) {
        model.set("selected", selected);
        model.save_changes();
      },
    };
    const root = document.createElement("div");
    el.append(root);
    const panel = panelOf(root, host);
    return () => {
      for (const [name, call] of listeners) model.off(name, call);
      panel.close();
    };
  },
};
