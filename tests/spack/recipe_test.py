# SPDX-License-Identifier: MIT
"""The Spack recipe against the build system it describes. Spack itself is not run: stub.py imitates its directives."""
import pathlib
import re
import sys
import unittest

import stub

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "Spack/spack_repo/isaribi"
RECIPE = REPOSITORY / "packages/isaribi/package.py"
ENVIRONMENTS = sorted((ROOT / "Spack/envs").glob("*/spack.yaml"))

# CMake or pkg-config name -> Spack package that brings it; None: part of the compiler.
PACKAGES = {
    "Threads": None, "OpenMP": None, "MPI": "mpi", "fmt": "fmt", "tomlplusplus": "tomlplusplus", "CLI11": "cli11",
    "nlohmann_json": "nlohmann-json", "OpenSSL": "openssl", "PNG": "libpng", "ZLIB": "zlib-api",
    "PkgConfig": "pkgconfig", "libxxhash": "xxhash", "hwloc": "hwloc", "cairo": "cairo", "HDF5": "hdf5", "Kokkos": "kokkos",
    "BLAS": "blas", "LAPACK": "lapack", "CUDAToolkit": "cuda", "Catch2": "catch2", "Git": "git", "Python3": "python",
}
# Options that the recipe does not offer, and why.
NOT_VARIANTS = {"ISARIBI_KOKKOS_SOURCE": "Spack always brings an installed Kokkos"}
# Variants that set a CMake variable which is not an option of ours.
OTHER_VARIANTS = {"cuda_arch": "CMAKE_CUDA_ARCHITECTURES"}


def cmake_files():
    files = [ROOT / "CMakeLists.txt", *(ROOT / "cmake").glob("*.cmake")]
    for folder in ("src", "backends", "io", "tests"):
        files += (ROOT / folder).rglob("CMakeLists.txt")
    return files


def cmake_options():
    text = (ROOT / "CMakeLists.txt").read_text()
    return set(re.findall(r"^option\((ISARIBI_\w+)", text, re.M)) | set(
        re.findall(r"^set\((ISARIBI_\w+) .*CACHE", text, re.M))


def cmake_packages():
    """Everything that the build looks for outside: find_package and pkg-config names."""
    found = set()
    for path in cmake_files():
        text = path.read_text()
        found |= set(re.findall(r"^\s*find_package\((\w+)", text, re.M))
        for names in re.findall(r"^\s*pkg_check_modules\(\w+ ([^)]*)\)", text, re.M):
            found |= {name for name in names.split() if not name.isupper() and name != "IMPORTED_TARGET"}
    return found


def variants_used(spec):
    """Names of the variants in the text of a spec: +a ~b c=d."""
    return set(re.findall(r"[+~](\w+)", spec)) | set(re.findall(r"(\w+)=", spec))


def environment_problems(environment, variants, namespace):
    """What is wrong with a parsed spack.yaml, as far as the stub can tell."""
    problems = []
    spack = environment.get("spack", {})
    if not spack.get("repos", {}).get("isaribi", "").endswith("spack_repo/isaribi"):
        problems.append("does not use the repository of the recipe")
    if spack.get("concretizer", {}).get("unify") is not True:
        problems.append("does not unify")
    specs = [spec for spec in spack.get("specs", []) if spec.split("@")[0].split()[0] == namespace]
    if not specs:
        problems.append("does not install isaribi")
    for spec in specs:
        unknown = variants_used(spec) - set(variants)
        if unknown:
            problems.append(f"{spec}: no such variant: {', '.join(sorted(unknown))}")
        if "+cuda" in spec and "cuda_arch=" not in spec:
            problems.append(f"{spec}: +cuda without cuda_arch")
    return problems


class Recipe(unittest.TestCase):
    def setUp(self):
        self.package, self.recorded = stub.load(RECIPE)

    def arguments(self, **changes):
        choice = {**self.recorded.variants, **changes}
        arguments = self.package(stub.Spec(choice)).cmake_args()
        return dict(re.fullmatch(r"-D(\w+):\w+=(.*)", argument).groups() for argument in arguments)

    def test_names_agree(self):
        self.assertEqual(self.package.__name__.lower(), RECIPE.parent.name)
        self.assertIn("namespace: isaribi", (REPOSITORY / "repo.yaml").read_text())

    def test_every_option_is_set_by_the_recipe_and_back(self):
        # sanitize and cuda_arch have values, the others are switches
        given = set(self.arguments(cuda=True, cuda_arch=("90",)))
        options = cmake_options() - set(NOT_VARIANTS)
        self.assertEqual(given - set(OTHER_VARIANTS.values()), options)

    def test_every_variant_changes_its_option(self):
        before = self.arguments()
        for name, default in self.recorded.variants.items():
            if name == "cuda_arch":
                self.assertEqual(self.arguments(cuda=True, cuda_arch=("90",))[OTHER_VARIANTS[name]], "90")
                continue
            other = "thread" if name == "sanitize" else not default
            after = self.arguments(**{name: other, "cuda_arch": ("90",)})
            changed = {key for key in after if after[key] != before.get(key)} - set(OTHER_VARIANTS.values())
            self.assertEqual(changed, {"ISARIBI_" + name.upper()}, f"variant {name}")

    def test_every_package_has_a_dependency(self):
        spack_names = {re.split(r"[@ +~]", spec)[0] for spec, _, _ in self.recorded.dependencies}
        for name in cmake_packages():
            if name == "":
                continue
            self.assertIn(name, PACKAGES, f"find_package({name}) has no row in PACKAGES")
            if PACKAGES[name]:
                self.assertIn(PACKAGES[name], spack_names, f"find_package({name}) has no depends_on")

    def test_conditions_name_declared_variants(self):
        for spec, when, _ in self.recorded.dependencies + self.recorded.conflicts:
            own = re.split(r"[\^%]", when or "")[0]
            self.assertLessEqual(variants_used(own), set(self.recorded.variants), f"{spec} when {when}")

    def test_compilers_are_declared(self):
        specs = [spec for spec, _, _ in self.recorded.dependencies]
        self.assertIn("c", specs)
        self.assertIn("cxx", specs)


class Environments(unittest.TestCase):
    def setUp(self):
        import yaml

        self.yaml = yaml
        _, self.recorded = stub.load(RECIPE)

    def test_environments_parse_and_use_declared_variants(self):
        self.assertGreaterEqual(len(ENVIRONMENTS), 3)
        for path in ENVIRONMENTS:
            environment = self.yaml.safe_load(path.read_text())
            self.assertEqual(environment_problems(environment, self.recorded.variants, "isaribi"), [], path)

    def test_a_bad_environment_is_noticed(self):
        bad = self.yaml.safe_load("spack:\n  specs: ['isaribi@main +cuda +kokos']\n")
        problems = " | ".join(environment_problems(bad, self.recorded.variants, "isaribi"))
        for expected in ("kokos", "without cuda_arch", "unify", "repository"):
            self.assertIn(expected, problems)


if __name__ == "__main__":
    print("note: a stub of Spack's directives is used; Spack itself is not run here")
    sys.stdout.flush()
    unittest.main()
