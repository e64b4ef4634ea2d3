// SPDX-License-Identifier: MIT
// Stands in for libcuda.so.1: the module that needs it is linked with it, and does not find it when
// it is opened.
extern "C" int isaribi_absent_driver() {
  return 0;
}
