# SPDX-License-Identifier: MIT
"""A small imitation of the part of Spack's package API that our recipe uses. It records directives instead of
resolving anything: enough to compare the recipe with the build system, not to replace Spack."""
import importlib.util
import sys
import types


class Recorder:
    """What the directives of one recipe said."""

    def __init__(self):
        self.variants = {}  # name -> default
        self.dependencies = []  # (spec, when, type)
        self.conflicts = []
        self.versions = []

    def variant(self, name, default=None, **rest):
        assert rest.get("description"), f"variant {name} has no description"
        self.variants[name] = default

    def depends_on(self, spec, when=None, type=("build", "link")):
        self.dependencies.append((spec, when, type))

    def conflict(self, spec, when=None, msg=None):
        self.conflicts.append((spec, when, msg))

    def version(self, name, **rest):
        self.versions.append(name)


class Variant:
    def __init__(self, value):
        self.value = value


class Spec:
    """One concrete choice of variants."""

    def __init__(self, variants):
        self.variants = {name: Variant(value) for name, value in variants.items()}

    def satisfies(self, text):
        sign, name = text[0], text[1:]
        return self.variants[name].value is (sign == "+")


class CMakePackage:
    def __init__(self, spec):
        self.spec = spec

    @staticmethod
    def define(name, value):
        if isinstance(value, bool):
            return f"-D{name}:BOOL={'ON' if value else 'OFF'}"
        text = ";".join(value) if isinstance(value, (list, tuple)) else str(value)
        return f"-D{name}:STRING={text}"

    def define_from_variant(self, name, variant):
        return self.define(name, self.spec.variants[variant].value)


class CudaPackage:
    cuda_arch_values = ("70", "80", "90", "100")


def load(path):
    """Executes the recipe file. @return (its package class, the Recorder)."""
    recorder = Recorder()
    recorder.variants.update({"cuda": False, "cuda_arch": ("none",)})  # what Spack's CudaPackage declares
    api = types.ModuleType("spack.package")
    api.variant = recorder.variant
    api.depends_on = recorder.depends_on
    api.conflicts = recorder.conflict
    api.version = recorder.version
    api.license = lambda *names, **rest: None
    api.join_path = lambda *parts: "/".join(parts)
    api.Executable = lambda path: None
    stubs = {"spack.package": api}
    for name, classes in {"cmake": [CMakePackage], "cuda": [CudaPackage]}.items():
        module = types.ModuleType(f"spack_repo.builtin.build_systems.{name}")
        for entry in classes:
            setattr(module, entry.__name__, entry)
        stubs[module.__name__] = module
    for parent in ("spack", "spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems"):
        stubs[parent] = types.ModuleType(parent)
        stubs[parent].__path__ = []
    saved = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update(stubs)
    try:
        description = importlib.util.spec_from_file_location("isaribi_recipe", path)
        recipe = importlib.util.module_from_spec(description)
        description.loader.exec_module(recipe)
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return recipe.Isaribi, recorder
