// Whether this processor's bfloat16 dot product is what the definition says.
#pragma once

namespace hadal {

// vdpbf16ps must be fma(even, even, fma(odd, odd, acc)) with denormals flushed, bit for bit. Runs some thousand
// pseudo-random cases, well under a millisecond. Call only where the AVX-512 set's instructions exist.
bool bf16_dot_is_two_fmas();

}  // namespace hadal
