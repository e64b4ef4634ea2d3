# SPDX-License-Identifier: MIT
"""Runs the rules of rules.py on this tree; then on bad trees, to see that every rule can fail."""
import pathlib
import shutil
import tempfile
import unittest

import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPDX = "// SPDX-License-Identifier: MIT\n"


class ThisTree(unittest.TestCase):
    def check(self, rule):
        breaches = rule(ROOT)
        if breaches:
            self.fail(f"{len(breaches)} breaches of {rule.__name__}:\n" + "\n".join(breaches))

    def test_there_is_something_to_check(self):
        self.assertGreater(len(rules.code_files(ROOT)), 50)

    def test_who_uses_whom(self):
        self.check(rules.who_uses_whom)

    def test_vendor_headers_stay_home(self):
        self.check(rules.vendor_headers_stay_home)

    def test_no_circles(self):
        self.check(rules.no_circles)

    def test_no_feature_tests_outside_backends(self):
        self.check(rules.no_feature_tests_outside_backends)

    def test_spdx_lines(self):
        self.check(rules.spdx_lines)

    def test_file_length(self):
        self.check(rules.file_length)

    def test_folder_readmes(self):
        self.check(rules.folder_readmes)

    def test_no_native_code(self):
        self.check(rules.no_native_code)

    def test_nothing_left_over(self):
        self.check(rules.nothing_left_over)

    @unittest.skipUnless(rules.clang_format(), "no clang-format 14")
    def test_formatted(self):
        self.check(rules.formatted)


class EveryRuleCanFail(unittest.TestCase):
    def tree(self, **contents):
        """A tree of files; in the names __ stands for /, and the last _ for the dot."""
        root = pathlib.Path(tempfile.mkdtemp(prefix="isaribi-style-"))
        self.addCleanup(shutil.rmtree, root)
        for name, text in contents.items():
            stem, _, suffix = name.replace("__", "/").rpartition("_")
            path = root / f"{stem}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    def bad(self, rule, expected, **contents):
        breaches = rule(self.tree(**contents))
        self.assertEqual(len(breaches), 1, breaches)
        self.assertIn(expected, breaches[0])

    def test_who_uses_whom(self):
        header = {"src__nn__graph_hpp": SPDX}
        self.bad(rules.who_uses_whom, "src/core/a.cpp:1: src/core may not use src/nn",
                 src__core__a_cpp='#include "nn/graph.hpp"\n', **header)
        self.bad(rules.who_uses_whom, "backends/simd may not use src/nn",
                 backends__simd__a_cpp='#include "nn/graph.hpp"\n', **header)
        self.bad(rules.who_uses_whom, "no line in MAY_USE", src__newcomer__a_cpp=SPDX)
        good = self.tree(src__train__a_cpp='#include "nn/graph.hpp"\n', **header)
        self.assertEqual(rules.who_uses_whom(good), [])

    def test_vendor_headers(self):
        for name, home in (("mpi.h", "src/comm"), ("hdf5.h", "io/hdf5"), ("Kokkos_Core.hpp", "backends/kokkos"),
                           ("cuda_runtime.h", "backends/cuda"), ("cblas.h", "backends/simd"),
                           ("immintrin.h", "backends/simd"), ("nccl.h", "src/comm/nccl")):
            self.bad(rules.vendor_headers_stay_home, f"{name} belongs to", src__train__a_cpp=f"#include <{name}>\n")
            at_home = self.tree(**{home.replace("/", "__") + "__a_cpp": f"#include <{name}>\n"})
            self.assertEqual(rules.vendor_headers_stay_home(at_home), [])
        self.bad(rules.vendor_headers_stay_home, "nccl.h belongs to src/comm/nccl", src__comm__a_cpp="#include <nccl.h>\n")
        self.bad(rules.vendor_headers_stay_home, "cuda_runtime.h belongs to", src__comm__nccl__a_cpp="#include <cuda_runtime.h>\n")

    def test_circles(self):
        self.bad(rules.no_circles, "includes itself: a.hpp -> b.hpp -> a.hpp",
                 src__core__a_hpp='#include "core/b.hpp"\n', src__core__b_hpp='#include "core/a.hpp"\n')

    def test_feature_tests(self):
        self.bad(rules.no_feature_tests_outside_backends, "HAVE_MPI", src__core__a_cpp="#ifdef HAVE_MPI\n#endif\n")
        self.bad(rules.no_feature_tests_outside_backends, "ISARIBI_CUDA", io__data__a_cpp="#if ISARIBI_CUDA\n#endif\n")

    def test_spdx(self):
        self.bad(rules.spdx_lines, "src/core/a.cpp:1", src__core__a_cpp="int a;\n")

    def test_length(self):
        self.bad(rules.file_length, "src/core/a.cpp:451", src__core__a_cpp="//\n" * 451)

    def test_readmes(self):
        self.bad(rules.folder_readmes, "src/core:1: no README.md", src__core__a_cpp=SPDX)

    def test_native(self):
        self.bad(rules.no_native_code, "-march=native", src__core__CMakeLists_txt="add_compile_options(-march=native)\n")

    def test_left_over(self):
        self.bad(rules.nothing_left_over, "src/core/a.cpp:1", src__core__a_cpp="// TO" + "DO later\n")
        self.bad(rules.nothing_left_over, "src/core/a.cpp:1", src__core__a_cpp='auto p = "/work' + '/main";\n')

    @unittest.skipUnless(rules.clang_format(), "no clang-format 14")
    def test_format(self):
        self.bad(rules.formatted, "src/core/a.cpp:1", src__core__a_cpp="int  a ;\n")


if __name__ == "__main__":
    unittest.main()
