/* Attention of one layer in one pass: window and compressed entries, sink, optional selection, bfloat16 products with float32 sums.

   The products of a training step are small and half masked; here only visible tiles are computed and no score ever leaves the cache.
   Keys are also values (one shared latent), so each of them is packed twice per call: "across" with 32 keys side by side for scores,
   "along" with pairs of keys for sums over keys.  Built only where the processor has bfloat16 products; kernels.py falls back otherwise. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
long attention_available(void) { return 1; }

typedef uint16_t bf;
enum { TILE = 64, WINDOW = 128, SPAN = TILE + WINDOW, PANEL = 32 };

static inline void narrow(const float *x, bf *y, long n) {             /* n a multiple of 16 */
    for (long k = 0; k < n; k += 16) _mm256_storeu_si256((__m256i *)(y + k), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + k)));
}
static inline float widen(bf v) { uint32_t u = (uint32_t)v << 16; float f; memcpy(&f, &u, 4); return f; }

/* C[8][32] (+)= A[8][depth] B[depth][32]; B holds pairs of depth, `bstep` elements from pair to pair */
static inline void block(const bf *A, long lda, const bf *B, long bstep, long depth, float *C, long ldc, int add) {
    __m512 c[8][2];
    for (int r = 0; r < 8; r++) for (int k = 0; k < 2; k++) c[r][k] = add ? _mm512_loadu_ps(C + r * ldc + 16 * k) : _mm512_setzero_ps();
    for (long p = 0; p < depth / 2; p++) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(B + p * bstep), b1 = (__m512bh)_mm512_loadu_si512(B + p * bstep + 32);
        for (int r = 0; r < 8; r++) {
            int32_t v; memcpy(&v, A + r * lda + 2 * p, 4);
            __m512bh a = (__m512bh)_mm512_set1_epi32(v);
            c[r][0] = _mm512_dpbf16_ps(c[r][0], a, b0); c[r][1] = _mm512_dpbf16_ps(c[r][1], a, b1);
        }
    }
    for (int r = 0; r < 8; r++) for (int k = 0; k < 2; k++) _mm512_storeu_ps(C + r * ldc + 16 * k, c[r][k]);
}
/* C[rows][lanes] (+)= A B, panel after panel; `pstep` elements from panel to panel */
static void product(const bf *A, long lda, long rows, const bf *B, long bstep, long pstep, long lanes, long depth, float *C, long ldc, int add) {
    for (long l = 0; l < lanes / PANEL; l++) for (long r = 0; r < rows; r += 8)
        block(A + r * lda, lda, B + l * pstep, bstep, depth, C + r * ldc + l * PANEL, ldc, add);
}

typedef struct { bf *across, *along; } Packed;
/* x [rows][D] -> both packings, `front` zero rows before and zero rows up to `total` */
static Packed pack(const float *x, long rows, long D, long front, long total) {
    Packed p = { aligned_alloc(64, total * D * sizeof(bf)), aligned_alloc(64, total * D * sizeof(bf)) };
    memset(p.across, 0, total * D * sizeof(bf)); memset(p.along, 0, total * D * sizeof(bf));
    bf row[1024];
    for (long i = 0; i < rows; i++) {
        long k = i + front;
        narrow(x + i * D, row, D);
        uint32_t *a = (uint32_t *)(p.across + (k / PANEL) * PANEL * D) + k % PANEL;
        for (long d = 0; d < D / 2; d++) memcpy(a + d * PANEL, row + 2 * d, 4);
        bf *b = p.along + (k / 2) * 2 * D + k % 2;
        for (long d = 0; d < D; d++) b[2 * d] = row[d];
    }
    return p;
}
static void drop(Packed p) { free(p.across); free(p.along); }
static inline long up(long n) { return (n + PANEL - 1) / PANEL * PANEL; }

/* q [B][T][H][D], kv [B][T][D], e [B][M][D] (M may be 0), sel [B][T][M] or null -> o as q;
   kept for the way back: P [B][T/64][H][64][192 + up(M)] bfloat16 and psink [B][T/64][H][64] */
void attend_f(const float *q, const float *kv, const float *e, const float *sink, const uint8_t *sel, float *o, bf *keep, float *psink,
              long B, long T, long H, long D, long M, long r, float scale) {
    long W = SPAN + up(M);
    float *S = aligned_alloc(64, TILE * W * 4), *O = aligned_alloc(64, TILE * D * 4);
    bf *A = aligned_alloc(64, TILE * D * 2);
    for (long b = 0; b < B; b++) {
        Packed K = pack(kv + b * T * D, T, D, WINDOW, T + WINDOW), E = M ? pack(e + b * M * D, M, D, 0, up(M)) : (Packed){0, 0};
        for (long t0 = 0; t0 < T; t0 += TILE) for (long h = 0; h < H; h++) {
            long seen = r ? (t0 + TILE) / r : 0, V = up(seen < M ? seen : M), at = (b * (T / TILE) + t0 / TILE) * H + h;
            bf *P = keep + at * TILE * W;
            for (long i = 0; i < TILE; i++) narrow(q + ((b * T + t0 + i) * H + h) * D, A + i * D, D);
            product(A, D, TILE, K.across + t0 * D, 2 * PANEL, PANEL * D, SPAN, D, S, W, 0);
            if (V) product(A, D, TILE, E.across, 2 * PANEL, PANEL * D, V, D, S + SPAN, W, 0);
            for (long i = 0; i < TILE; i++) {
                float *a = S + i * W, *c = a + SPAN;
                long t = t0 + i, lo = i + 1 > WINDOW - t0 ? i + 1 : WINDOW - t0, hi = i + WINDOW + 1, vis = r ? (t + 1) / r : 0;
                const uint8_t *se = sel && vis ? sel + (b * T + t) * M : 0;
                if (se) for (long k = 0; k < vis; k++) c[k] = se[k] ? c[k] : -1e30f;
                float mx = sink[h] / scale, s = 0;
                for (long k = lo; k < hi; k++) mx = a[k] > mx ? a[k] : mx;
                for (long k = 0; k < vis; k++) mx = c[k] > mx ? c[k] : mx;
                float first = expf(sink[h] - mx * scale);
                for (long k = 0; k < lo; k++) a[k] = 0;
                for (long k = lo; k < hi; k++) { a[k] = expf((a[k] - mx) * scale); s += a[k]; }
                for (long k = hi; k < SPAN; k++) a[k] = 0;
                for (long k = 0; k < vis; k++) { float x = (c[k] - mx) * scale; c[k] = x > -80.0f ? expf(x) : 0.0f; s += c[k]; }
                for (long k = vis; k < V; k++) c[k] = 0;
                s = 1.0f / (s + first);
                for (long k = 0; k < SPAN + V; k++) a[k] *= s;
                psink[at * TILE + i] = first * s;
                narrow(a, P + i * W, SPAN + V);
            }
            product(P, W, TILE, K.along + t0 * D, 2 * D, 2 * PANEL, D, SPAN, O, D, 0);
            if (V) product(P + SPAN, W, TILE, E.along, 2 * D, 2 * PANEL, D, V, O, D, 1);
            for (long i = 0; i < TILE; i++) memcpy(o + ((b * T + t0 + i) * H + h) * D, O + i * D, D * 4);
        }
        drop(K); drop(E);
    }
    free(S); free(O); free(A);
}

/* go as q -> dq, dkv, de (both zeroed by the caller), dsink */
void attend_b(const float *q, const float *kv, const float *e, const bf *keep, const float *psink, const float *go, float *dq, float *dkv, float *de, float *dsink,
              long B, long T, long H, long D, long M, long r, float scale) {
    long W = SPAN + up(M), two = 2 * TILE;
    float *S = aligned_alloc(64, TILE * W * 4), *O = aligned_alloc(64, TILE * D * 4), *sums = aligned_alloc(64, (T + WINDOW) * D * 4), *esums = aligned_alloc(64, (up(M) + PANEL) * D * 4);
    bf *G = aligned_alloc(64, TILE * D * 2), *Q = aligned_alloc(64, TILE * D * 2), *dS = aligned_alloc(64, TILE * W * 2), *flip = aligned_alloc(64, W * two * 2), *pairs = aligned_alloc(64, two * D * 2);
    for (long b = 0; b < B; b++) {
        Packed K = pack(kv + b * T * D, T, D, WINDOW, T + WINDOW), E = M ? pack(e + b * M * D, M, D, 0, up(M)) : (Packed){0, 0};
        memset(sums, 0, (T + WINDOW) * D * 4); memset(esums, 0, (up(M) + PANEL) * D * 4);
        for (long t0 = 0; t0 < T; t0 += TILE) for (long h = 0; h < H; h++) {
            long seen = r ? (t0 + TILE) / r : 0, V = up(seen < M ? seen : M), at = (b * (T / TILE) + t0 / TILE) * H + h, N = SPAN + V;
            const bf *P = keep + at * TILE * W;
            for (long i = 0; i < TILE; i++) {
                long row = ((b * T + t0 + i) * H + h) * D;
                narrow(go + row, G + i * D, D); narrow(q + row, Q + i * D, D);
            }
            for (long i = 0; i < TILE; i++) for (long d = 0; d < D; d++) {
                pairs[(i / 2) * 2 * D + 2 * d + i % 2] = Q[i * D + d];
                pairs[TILE * D + (i / 2) * 2 * D + 2 * d + i % 2] = G[i * D + d];
            }
            product(G, D, TILE, K.across + t0 * D, 2 * PANEL, PANEL * D, SPAN, D, S, W, 0);
            if (V) product(G, D, TILE, E.across, 2 * PANEL, PANEL * D, V, D, S + SPAN, W, 0);
            for (long i = 0; i < TILE; i++) {
                float *a = S + i * W, s = 0; const bf *p = P + i * W;
                for (long k = 0; k < N; k++) s += widen(p[k]) * a[k];
                for (long k = 0; k < N; k++) a[k] = widen(p[k]) * (a[k] - s) * scale;
                narrow(a, dS + i * W, N);
                dsink[h] -= psink[at * TILE + i] * s;
            }
            product(dS, W, TILE, K.along + t0 * D, 2 * D, 2 * PANEL, D, SPAN, O, D, 0);
            if (V) product(dS + SPAN, W, TILE, E.along, 2 * D, 2 * PANEL, D, V, O, D, 1);
            for (long i = 0; i < TILE; i++) memcpy(dq + ((b * T + t0 + i) * H + h) * D, O + i * D, D * 4);
            for (long k0 = 0; k0 < N; k0 += 16) for (long i = 0; i < TILE; i++) for (long k = k0; k < k0 + 16; k++) {
                flip[k * two + i] = dS[i * W + k]; flip[k * two + TILE + i] = P[i * W + k];
            }
            product(flip, two, SPAN, pairs, 2 * D, 2 * PANEL, D, two, sums + t0 * D, D, 1);
            if (V) product(flip + SPAN * two, two, V, pairs, 2 * D, 2 * PANEL, D, two, esums, D, 1);
        }
        memcpy(dkv + b * T * D, sums + WINDOW * D, T * D * 4);
        if (M) memcpy(de + b * M * D, esums, M * D * 4);
        drop(K); drop(E);
    }
    free(S); free(O); free(sums); free(esums); free(G); free(Q); free(dS); free(flip); free(pairs);
}
#else
long attention_available(void) { return 0; }
void attend_f(void) {}
void attend_b(void) {}
#endif
