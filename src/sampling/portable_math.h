// exp and log in double precision from additions and multiplications alone. The C library picks a variant by processor
// (with or without fused multiply-add) and their last bits differ; a sampled token must not depend on that.
// On the ranges used here exp is within 2 units in the last place of the true value, log within 2.5.
#pragma once

namespace hadal {

// e^x for x <= 0; exactly 0 below -708, where a result would be denormal (threads may flush those).
double portable_exp(double x);

// Natural logarithm of a finite normal x > 0.
double portable_log(double x);

}  // namespace hadal
