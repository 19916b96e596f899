import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_what_needs_torchvision_imports_after_the_fix():
    code = ("from dqcodec.torchvision_fix import import_torchvision; import_torchvision(); import_torchvision()\n"
            "import torchvision.models, lpips; print(torchvision.models.vgg16.__name__)")
    assert run(code) == "vgg16"


def test_commands_are_known_without_importing_anything_heavy():
    code = ("import sys, dqcodec.eval.commands\n"
            "print([m for m in ('torch', 'numpy', 'PIL', 'rich', 'matplotlib') if m in sys.modules])")
    assert run(code) == "[]"
