"A notebook that is closed while its panels are at work: the interpreter ends in silence, whenever it is."

import time

from jupyter_client.manager import start_new_kernel
from soak import AT_WORK, left


def test_the_interpreter_ends_in_silence_while_panels_are_at_work():
    """Threads that compute in PyTorch while Python takes itself down abort the process: here they end before it.
    What is measured and sorted cannot be asked to stop: it is interrupted."""
    assert left(AT_WORK) == (0, "")


def test_a_training_that_is_left_ends_in_silence_and_can_be_gone_on_with(tmp_path):
    "At exit it is asked to stop after its step: where it was is on disk"
    code = AT_WORK.replace("scrubber.measure()\n", "").replace("val=held", f"folder={str(tmp_path)!r}")
    code = code.replace('sweep_remedies(["repair", "mask"] * 20)', "launch()")
    code = code.replace("scrubber = ", "run.rounds = 5\nscrubber = ")
    code = code.replace("time.sleep(0.3)", "[time.sleep(0.02) for _ in range(1000) if not launcher.job.points]")
    assert left(code) == (0, "")
    assert list(tmp_path.glob("round-*/stopped.pt"))


# The same without the scrubber; every step of a repair takes a while, so that there is time to interrupt it.
SLOWLY = """
from masktune.lab import jobs

whole = jobs.repair


def slowly(*given, on_step, **options):
    return whole(*given, on_step=lambda step: time.sleep(0.2) or on_step(step), **options)


jobs.repair = slowly
launcher = Launcher(run, data, {"test": data}, val=held).sweep_remedies(["repair", "refit"])
"""


def told(client, code):
    "What a cell of a kernel prints"
    said = []
    hear = lambda news: said.append(news["content"].get("text", ""))  # noqa: E731
    reply = client.execute_interactive(code, timeout=120, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


def test_an_interrupt_of_the_kernel_stops_a_repair_whether_a_cell_runs_or_none():
    "A kernel that waits for a cell ignores interrupts: the launcher heeds them"
    manager, client = start_new_kernel(kernel_name="python3")
    ask = "launcher.job.wait(); print(launcher.trials.stopped, len(launcher.trials))"
    try:
        told(client, AT_WORK[: AT_WORK.index("scrubber =")] + SLOWLY)
        manager.interrupt_kernel()  # no cell runs
        said = told(client, ask)
        assert said.startswith("repair stopped after plain") and "; 1 more of the sweep not begun" in said
        # by default a kernel throws away what reaches it just after a cell that failed: here, the last question
        waiting = client.execute("launcher.launch(remedy='repair').wait()", stop_on_error=False)
        time.sleep(0.5)
        manager.interrupt_kernel()  # the cell that waits
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != waiting:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert told(client, ask).startswith("repair stopped after plain")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
