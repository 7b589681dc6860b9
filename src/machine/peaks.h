// Rates of the arithmetic instructions the kernels are built on, in operations per second of one thread's CPU time.
#pragma once

#include <string_view>

namespace hadal {

enum class PeakKind {
  kInt8,  // a multiply and an add of bytes to int32: vpdpbusd; vpmaddubsw and vpmaddwd with AVX2
  kF32,   // a multiply and an add of float32: fused multiply-add
  kBf16,  // a multiply and an add of bfloat16: vdpbf16ps; float32 fused multiply-add with AVX2
};

// `isa` is a kernel set's name; the caller knows that it can run. The scalar set's yardstick for both kinds is a scalar
// float32 multiply and add. About 10 ms.
double measured_peak(std::string_view isa, PeakKind kind);

}  // namespace hadal
