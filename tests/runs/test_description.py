"""A stage is described without torch, so that a plan is made and refused in a second."""


def test_stages_are_described_without_torch(command):
    code = (
        "import sys; from common.runs.description import Architecture, Stage;"
        "stage = Stage('fine', 3, 'arch_single_head', None);"
        "print(stage.name, sorted({'torch', 'pytorch_lightning'} & set(sys.modules)))"
    )
    done = command("-c", code)
    assert (done.returncode, done.stdout) == (0, "fine/seed3 []\n"), done.stderr
