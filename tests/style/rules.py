# SPDX-License-Identifier: MIT
"""The rules of the house that a machine can check. Each takes the root of a source tree and returns its breaches as
"file:line: what" lines, so that the same code judges this tree and the bad examples of the test."""
import pathlib
import re
import shutil
import subprocess

# Who may use whom, besides itself. A module is a folder below src/, backends/ or io/.
_API = {"backends/api", "src/core"}
MAY_USE = {
    "src/core": set(),
    "src/comm": {"src/core"},
    "backends/api": {"src/core"},
    "backends/reference": _API,
    "backends/kokkos": _API,
    "backends/simd": _API,
    "backends/cuda": _API,
    "backends/selftest": _API,
    "io/hdf5": {"src/core", "src/comm"},
    "io/data": {"src/core", "src/comm", "io/hdf5"},
    "io/checkpoint": {"src/core", "src/comm", "io/hdf5"},
    "io/convert": {"src/core", "src/comm", "io/hdf5", "io/data"},
    "io/report": {"src/core", "io/hdf5"},
    "src/nn": {"src/core", "src/comm", "backends/api"},
    "src/optim": {"src/core", "src/comm", "backends/api", "src/nn"},
}
_IO = {module for module in MAY_USE if module.startswith("io/")}
MAY_USE["src/train"] = {"src/core", "src/comm", "backends/api", "src/nn", "src/optim"} | _IO
MAY_USE["src/app"] = set(MAY_USE)
MAY_USE["src"] = set(MAY_USE)  # main.cpp wires everything

# Vendor header (a pattern of the included name) -> the modules, or folders of one, it may be seen in.
VENDOR_HOMES = {
    r"mpi\.h|mpi-ext\.h": {"src/comm", "io/hdf5"},
    r"hdf5\.h|H5\w+\.h|hdf5_hl\.h": {"io/hdf5"},
    r"Kokkos_.*": {"backends/kokkos"},
    r"cuda.*|cublas.*|cusolver.*|curand.*|nvtx.*|nvToolsExt.*": {"backends/cuda"},
    r"nccl.*": {"src/comm/nccl"},  # its plug
    r"cblas\.h|lapack\w*\.h|openblas.*|mkl.*": {"backends/simd"},
    r"\w+intrin\.h|cpuid\.h": {"backends/simd"},
    r"google/protobuf.*|onnx.*": {"io/onnx"},
}
CODE = {".cpp", ".hpp", ".cu", ".cuh"}
MAX_LINES = 450
TREES = ("src", "backends", "io", "tests", "cmake", "inputs", "jobscripts", "Spack")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def files(root, trees=TREES):
    """Every file of the tree, build products and caches left out."""
    found = []
    for tree in trees:
        found += [path for path in sorted((root / tree).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    found += [path for path in sorted(root.iterdir()) if path.is_file()
              and path.suffix in (".txt", "", ".json", ".md") and not path.name.startswith(".git")]
    return found


def code_files(root, trees=("src", "backends", "io", "tests")):
    return [path for path in files(root, trees) if path.suffix in CODE]


def is_script(path):
    if path.suffix in (".py", ".sh"):
        return True
    with path.open("rb") as stream:
        return path.suffix == "" and stream.read(2) == b"#!"


def numbered(path):
    return enumerate(path.read_text(errors="replace").splitlines(), 1)


def module_of(relative):
    """The module of a path relative to the root; None outside the three trees."""
    parts = relative.parts
    if parts[0] not in ("src", "backends", "io"):
        return None
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def resolve(root, path, name):
    """The file that an include with quotes means: beside the includer, under the root or under src/."""
    for base in (path.parent, root, root / "src"):
        if (base / name).is_file():
            return (base / name).resolve()
    return None


def includes(root, path):
    """(line, name, file or None for a system header) of every include."""
    found = []
    for line, text in numbered(path):
        match = INCLUDE.match(text)
        if match:
            name = match.group(1) or match.group(2)
            found.append((line, name, resolve(root, path, name) if match.group(1) else None))
    return found


def who_uses_whom(root):
    breaches = []
    for path in code_files(root, ("src", "backends", "io")):
        module = module_of(path.relative_to(root))
        if module not in MAY_USE:
            breaches.append(f"{path.relative_to(root)}:1: module {module} has no line in MAY_USE")
            continue
        for line, name, target in includes(root, path):
            if target is None:
                continue
            used = module_of(target.relative_to(root))
            if used != module and used not in MAY_USE[module]:
                breaches.append(f"{path.relative_to(root)}:{line}: {module} may not use {used} ({name})")
    return breaches


def vendor_headers_stay_home(root):
    breaches = []
    for path in code_files(root, ("src", "backends", "io")):
        places = {module_of(path.relative_to(root)), path.relative_to(root).parent.as_posix()}
        for line, name, target in includes(root, path):
            for pattern, homes in VENDOR_HOMES.items():
                if target is None and re.fullmatch(pattern, name) and not places & homes:
                    breaches.append(f"{path.relative_to(root)}:{line}: {name} belongs to {', '.join(sorted(homes))}")
    return breaches


def no_circles(root):
    """No file includes itself by way of others, and MAY_USE itself has no circle of modules."""
    graph = {path.resolve(): [target for _, _, target in includes(root, path) if target]
             for path in code_files(root, ("src", "backends", "io"))}
    for start, chain in _circles(graph):
        return [f"{start.relative_to(root.resolve())}:1: includes itself: "
                + " -> ".join(path.name for path in chain)]
    return [f"MAY_USE:1: circle {' -> '.join(chain)}" for _, chain in _circles(MAY_USE)]


def _circles(graph):
    done, found = set(), []

    def visit(node, chain):
        if node in chain:
            found.append((node, chain[chain.index(node):] + [node]))
        elif node not in done:
            for following in sorted(graph.get(node, ())):
                if following != node or node not in MAY_USE:
                    visit(following, chain + [node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def no_feature_tests_outside_backends(root):
    pattern = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(HAVE_|\bUSE_|KOKKOS_ENABLE|ISARIBI_(CUDA|KOKKOS|SIMD))")
    return [f"{path.relative_to(root)}:{line}: {text.strip()}: CMake adds a folder or its stub instead"
            for path in code_files(root, ("src", "io")) for line, text in numbered(path) if pattern.match(text)]


def spdx_lines(root):
    checked = [path for path in files(root) if path.suffix in CODE | {".cmake"} or is_script(path)]
    return [f"{path.relative_to(root)}:1: no SPDX-License-Identifier line"
            for path in checked if not any("SPDX-License-Identifier: MIT" in text for line, text in numbered(path) if line <= 3)]


def file_length(root):
    breaches = []
    for path in files(root):
        if path.suffix in CODE | {".cmake"} or is_script(path):
            lines = sum(1 for _ in numbered(path))
            if lines > MAX_LINES:
                breaches.append(f"{path.relative_to(root)}:{lines}: more than {MAX_LINES} lines: split it")
    return breaches


def folder_readmes(root):
    """Folders of one and, in the code trees, two levels that hold files."""
    folders = [root / tree for tree in TREES if tree not in ("src", "backends", "io")]
    for tree in ("src", "backends", "io", "tests"):
        folders += [path for path in sorted((root / tree).glob("*")) if path.is_dir() and path.name != "__pycache__"]
    return [f"{folder.relative_to(root)}:1: no README.md"
            for folder in folders if folder.is_dir() and any(folder.iterdir()) and not (folder / "README.md").is_file()]


def no_native_code(root):
    """The same binary runs on login and compute nodes; instruction sets are chosen at run time."""
    pattern = re.compile(r"^[^#]*(-m(?:arch|tune|cpu)=native|Kokkos_ARCH_NATIVE=ON)")  # in comments it may be warned of
    return [f"{path.relative_to(root)}:{line}: {pattern.search(text).group(1)}" for path in files(root)
            if "style" not in path.parts and path.suffix != ".md" for line, text in numbered(path) if pattern.search(text)]


def nothing_left_over(root):
    """No notes to oneself, no paths of the machine it was written on."""
    pattern = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b(?!\.)|/tmp/setup|(?<![\w.$}])/work/")
    checked = [path for path in files(root) if "style" not in path.parts and path.suffix not in (".gz", ".png", ".h5")]
    return [f"{path.relative_to(root)}:{line}: {text.strip()[:60]}" for path in checked
            for line, text in numbered(path) if pattern.search(text) and "mktemp" not in text]


def clang_format():
    """The pinned clang-format (major 14), or None."""
    for name in ("clang-format-14", "clang-format"):
        program = shutil.which(name)
        if program and "version 14." in subprocess.run([program, "--version"], capture_output=True, text=True).stdout:
            return program
    return None


def formatted(root):
    paths = code_files(root)
    if not paths:
        return []
    result = subprocess.run([clang_format(), "--style=file", "--dry-run", *paths], cwd=root, capture_output=True, text=True)
    first = {}
    for file, line in re.findall(r"^(\S+?):(\d+):\d+: warning: code should be clang-formatted", result.stderr, re.M):
        first.setdefault(file, line)
    return [f"{pathlib.Path(file).relative_to(root)}:{line}: not as clang-format 14 would have it" for file, line in first.items()]
