#include "machine/peaks.h"

#include <algorithm>

#include "machine/probe.h"

namespace hadal {
namespace {

// Ten independent accumulators and two operands: more than latency times throughput on any processor so far. Written in
// assembly because the file is compiled for the baseline and a compiler would merge or drop the loop.
#define HADAL_TEN(I) I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8") I("9")
#define HADAL_LOOP(I)                                                                                              \
  asm volatile("vpxor %%xmm10,%%xmm10,%%xmm10\n vpxor %%xmm11,%%xmm11,%%xmm11\n .p2align 5\n 1:\n" HADAL_TEN(      \
                   I) "dec %0\n jnz 1b\n vzeroupper\n"                                                             \
               : "+r"(n)::"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                 "xmm11", "cc")
#define HADAL_DOT8_512(r) "vpdpbusd %%zmm10,%%zmm11,%%zmm" r "\n"
#define HADAL_BF16_512(r) "vdpbf16ps %%zmm10,%%zmm11,%%zmm" r "\n"
#define HADAL_FMA_512(r) "vfmadd231ps %%zmm10,%%zmm11,%%zmm" r "\n"
// AVX2's way to a sum of int8 products in int32 takes two multiplications: to pairs in int16, then to int32.
#define HADAL_MADD_256(r) "vpmaddubsw %%ymm10,%%ymm11,%%ymm" r "\n vpmaddwd %%ymm10,%%ymm" r ",%%ymm" r "\n"
#define HADAL_FMA_256(r) "vfmadd231ps %%ymm10,%%ymm11,%%ymm" r "\n"

void run_512_int8(long n) { HADAL_LOOP(HADAL_DOT8_512); }
void run_512_bf16(long n) { HADAL_LOOP(HADAL_BF16_512); }
void run_512_fma(long n) { HADAL_LOOP(HADAL_FMA_512); }
void run_256_int8(long n) { HADAL_LOOP(HADAL_MADD_256); }
void run_256_fma(long n) { HADAL_LOOP(HADAL_FMA_256); }

#define HADAL_SCALAR(r) "mulss %%xmm11,%%xmm10\n addss %%xmm11,%%xmm" r "\n"
void run_scalar(long n) {
  asm volatile(
      "xorps %%xmm10,%%xmm10\n xorps %%xmm11,%%xmm11\n .p2align 5\n 1:\n" HADAL_TEN(HADAL_SCALAR) "dec %0\n jnz 1b\n"
      : "+r"(n)::"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
        "cc");
}

}  // namespace

double measured_peak(std::string_view isa, PeakKind kind) {
  const bool int8 = kind == PeakKind::kInt8;
  void (*run)(long) = run_scalar;
  double operations = 2;  // of one instruction
  if (isa == "avx512") {
    run = int8 ? run_512_int8 : kind == PeakKind::kBf16 ? run_512_bf16 : run_512_fma;
    operations = int8 ? 128 : kind == PeakKind::kBf16 ? 64 : 32;
  }
  if (isa == "avx2") run = int8 ? run_256_int8 : run_256_fma, operations = int8 ? 64 : 16;
  constexpr long kLoops = 1'000'000;
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const double begin = thread_cpu_seconds();
    run(kLoops);
    best = std::min(best, thread_cpu_seconds() - begin);
  }
  return operations * 10 * kLoops / best;
}

}  // namespace hadal
