"A panel in a browser whose kernel is this process: what the page sets reaches the traits, and the other way round."

import json
import queue
import time

from masktune.instrument import script_text, static_text

PAGE = """<!doctype html><html lang='en'><meta charset='utf-8'><title>panel</title><style>CSS</style>
<main id='place'></main><script type='module'>SCRIPT
const called = {};
const state = JSON.parse(document.getElementById("state").textContent);
const model = {
  changed: {},
  get: (name) => state[name],
  set(name, value) { state[name] = value; this.changed[name] = value; },
  save_changes() { const news = this.changed; this.changed = {}; window.kernel(JSON.stringify(news)); },
  on(name, call) { (called[name] ??= new Set()).add(call); },
  off(name, call) { called[name]?.delete(call); },
};
window.told = (news) => {
  for (const [name, value] of Object.entries(news)) {
    state[name] = value;
    for (const call of called[`change:${name}`] ?? []) call();
  }
};
window.stop = homes.render({ model, el: document.getElementById("place") });
window.listening = () => Object.values(called).reduce((sum, calls) => sum + calls.size, 0);
</script><script type='application/json' id='state'>STATE</script></html>"""


class Bridge:
    "A page with a panel's view; `until` lets both sides hear of each other until something is so"

    def __init__(self, browser, view, **options):
        self.view, self.news, self.wrong = view, queue.Queue(), []
        self.names = [name for name in view.traits(sync=True) if not name.startswith("_")]
        state = json.dumps({name: getattr(view, name) for name in self.names}, default=str)
        script = script_text().replace("export default", "const homes =")
        text = PAGE.replace("CSS", static_text("instrument.css")).replace("SCRIPT", script)
        self.page = browser.new_page(**({"viewport": {"width": 1400, "height": 1000}} | options))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.expose_function("kernel", self._heard)
        view.observe(self._changed, self.names)
        self.page.set_content(text.replace("STATE", state.replace("<", "\\u003c")))

    def _heard(self, news):
        "What the page sets; what follows from it is told all the same, as a kernel does"
        for name, value in json.loads(news).items():
            setattr(self.view, name, value)

    def _changed(self, change):
        self.news.put((change["name"], change["new"]))

    def until(self, true, seconds=20):
        "Pass news on until `true()`"
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            while not self.news.empty():
                name, value = self.news.get()
                self.page.evaluate("news => window.told(news)", {name: value})
            self.page.wait_for_timeout(20)
            if self.news.empty() and true():
                return
        raise AssertionError(f"it did not come: {self.wrong}")

    def ahead(self):
        "Whether news of the kernel is on its way to the page"
        return not self.news.empty()

    def close(self):
        self.view.unobserve(self._changed, self.names)
        self.page.evaluate("window.stop()")
        left = self.page.evaluate("window.listening()")
        self.page.close()
        assert left == 0 and not self.wrong, (left, self.wrong)
