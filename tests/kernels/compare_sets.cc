#include "kernels/compare_sets.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "machine/thread_pool.h"
#include "numbers/bf16.h"
#include "numbers/e2m1.h"
#include "numbers/e4m3.h"

namespace hadal::testing {

std::uint64_t Random::next() {
  if (bytes_.size() >= 8) {
    std::uint64_t v;
    std::memcpy(&v, bytes_.data(), 8);
    bytes_ = bytes_.subspan(8);
    return v;
  }
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

std::int64_t Random::range(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
}

float Random::normal() {
  std::uint64_t v = next();
  float s = 0;
  for (int i = 0; i < 4; ++i) s += static_cast<float>(v >> (16 * i) & 0xffff) / 65536.0f - 0.5f;
  return s * 1.7320508f;
}

float Random::any() {
  switch (range(0, 15)) {
    case 0:
      return 0.0f;
    case 1:
      return -0.0f;
    case 2:
      return std::bit_cast<float>(static_cast<std::uint32_t>(next()) & 0x807fffffu);  // denormal
    case 3:
      return std::ldexp(normal(), static_cast<int>(range(-126, -60)));
    case 4:
      return std::ldexp(normal(), static_cast<int>(range(20, 88)));
    case 5:
      return std::ldexp(static_cast<float>(range(-31, 31)), static_cast<int>(range(-12, 4)));  // ties of small formats
    default:
      return normal();
  }
}

std::vector<float> Random::normals(std::int64_t n) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = normal();
  return v;
}
std::vector<float> Random::anys(std::int64_t n) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = any();
  return v;
}

std::string difference(const std::string& what, const float* a, const float* b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    auto x = std::bit_cast<std::uint32_t>(a[i]), y = std::bit_cast<std::uint32_t>(b[i]);
    if (x != y) return fmt::format("{}[{}]: {:.9g} ({:08x}) and {:.9g} ({:08x})", what, i, a[i], x, b[i], y);
  }
  return "";
}

AlignedBytes::AlignedBytes(std::int64_t n) : storage_(static_cast<std::size_t>(n) + 64) {
  auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
  data_ = storage_.data() + (64 - address % 64) % 64;
}

// --- products

RandomMatrix random_matrix(Encoding encoding, std::int64_t rows, std::int64_t cols, Random& random, bool wild) {
  RandomMatrix m;
  m.view = {encoding, rows, cols, nullptr, nullptr};
  const PackedMatrix& w = m.view;
  m.tiles.resize(static_cast<std::size_t>(w.bytes()));
  for (std::int64_t tile = 0; tile < w.tile_count(); ++tile) {
    std::byte* run = m.tiles.data() + tile * w.tile_run_bytes();
    for (std::int64_t i = 0; i < w.tile_run_bytes(); ++i) run[i] = static_cast<std::byte>(random.next());
    if (encoding == Encoding::kFp4) {
      for (std::int64_t b = 0; b < w.padded_cols() / 32; ++b)
        for (int r = 0; r < 16; ++r)
          run[b * kFp4TileBytes + 256 + r] =
              static_cast<std::byte>(wild ? random.range(0, 254) : random.range(118, 123));
    } else if (encoding == Encoding::kFp8) {
      for (std::int64_t i = 0; i < w.tile_run_bytes(); ++i)
        if (e4m3_is_nan(static_cast<std::uint8_t>(run[i]))) run[i] = std::byte{0x7e};
    } else {
      for (std::int64_t i = 0; i < w.padded_cols() * 16; ++i) {
        float v = wild ? random.any() : random.normal();
        auto bits = std::bit_cast<std::uint32_t>(v);
        if (encoding == Encoding::kF32) {
          std::memcpy(run + 4 * i, &bits, 4);
        } else {
          auto half = static_cast<std::uint16_t>(bits >> 16);
          std::memcpy(run + 2 * i, &half, 2);
        }
      }
    }
  }
  m.view.tiles = m.tiles.data();
  if (encoding == Encoding::kFp8) {
    for (std::int64_t i = 0; i < w.tile_count() * w.scale_blocks(); ++i)
      m.scales.push_back(wild ? random.any()
                              : std::ldexp(1.0f + random.normal() / 8, static_cast<int>(random.range(-9, -6))));
    m.view.scales = m.scales.data();
  }
  return m;
}

double RandomMatrix::value(std::int64_t row, std::int64_t col) const {
  const std::byte* run = view.tiles + row / 16 * view.tile_run_bytes();
  const std::int64_t r = row % 16;
  switch (view.encoding) {
    case Encoding::kFp4: {
      const std::byte* tile = run + col / 32 * kFp4TileBytes;
      const std::int64_t k = col % 32;
      auto byte = static_cast<unsigned>(tile[k / 8 * 64 + r * 4 + k % 4]);
      auto code = static_cast<std::uint8_t>(k % 8 < 4 ? byte & 15 : byte >> 4);
      return std::ldexp(static_cast<double>(e2m1_to_float(code)), static_cast<int>(tile[256 + r]) - 127);
    }
    case Encoding::kFp8: {
      std::byte code = run[col / 4 * 64 + r / 4 * 16 + col % 4 / 2 * 8 + r % 4 * 2 + col % 2];
      return static_cast<double>(e4m3_to_float(static_cast<std::uint8_t>(code))) *
             static_cast<double>(scales[static_cast<std::size_t>(row / 16 * view.scale_blocks() + col / 128)]);
    }
    case Encoding::kBf16: {
      std::uint16_t half;
      std::memcpy(&half, run + col / 2 * 64 + r * 4 + col % 2 * 2, 2);
      return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16));
    }
    case Encoding::kF32: {
      float v;
      std::memcpy(&v, run + col * 64 + r * 4, 4);
      return static_cast<double>(v);
    }
  }
  return 0;
}

PackedActivations pack(const KernelTable& set, ActivationKind kind, const std::vector<float>& x, std::int64_t count,
                       std::int64_t cols) {
  PackedActivations p;
  const std::int64_t padded = (cols + kColumnPad - 1) / kColumnPad * kColumnPad;
  p.data.resize(static_cast<std::size_t>(activation_bytes(kind, count, cols)));
  set.pack_activations(kind, x.data(), cols, nullptr, count, cols, p.data.data());
  p.view = {kind, count, padded, p.data.data()};
  return p;
}

std::string compare_products(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const auto encoding = static_cast<Encoding>(random.range(0, 3));
  auto kind = static_cast<ActivationKind>(random.range(0, 2));
  if (encoding == Encoding::kF32) kind = ActivationKind::kF32;
  if (encoding != Encoding::kFp4 && kind == ActivationKind::kInt8) kind = ActivationKind::kBf16;
  const std::int64_t rows = random.range(1, 50), cols = random.range(1, 10) == 1 ? 32 : random.range(1, 400);
  const std::int64_t count = random.range(1, 20);
  // Wild numbers are of any size. Small ones reach from what counts as zero to what a set may handle apart (2^21).
  const bool wild = random.range(0, 1) == 1, small = wild && random.range(0, 1) == 1;
  RandomMatrix w = random_matrix(encoding, rows, cols, random, wild);
  // Rows picked by index from a wider buffer.
  const std::int64_t stride = cols + random.range(0, 7);
  std::vector<float> x = wild && !small ? random.anys(25 * stride) : random.normals(25 * stride);
  if (small)
    for (float& v : x)
      v = std::ldexp(v, static_cast<int>(random.range(0, 3) == 0 ? random.range(-100, 19) : random.range(-100, -80)));
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(random.range(0, 24)));
  const std::int64_t padded = (cols + 31) / 32 * 32, bytes = activation_bytes(kind, count, cols);
  std::vector<std::byte> pa(static_cast<std::size_t>(bytes)), pb(pa.size());
  a.pack_activations(kind, x.data(), stride, tokens.data(), count, cols, pa.data());
  b.pack_activations(kind, x.data(), stride, tokens.data(), count, cols, pb.data());
  std::string where = fmt::format("encoding {} kind {} rows {} cols {} count {}{}: ", static_cast<int>(encoding),
                                  static_cast<int>(kind), rows, cols, count,
                                  small  ? " small"
                                  : wild ? " wild"
                                         : "");
  if (pa != pb) return where + "packed activations differ";
  const Activations view{kind, count, padded, pa.data()};
  const std::int64_t begin = random.range(0, w.view.tile_count() - 1),
                     end = random.range(begin + 1, w.view.tile_count());
  std::vector<float> ya(static_cast<std::size_t>(count * (rows + 3)), 7.0f), yb = ya;
  a.matmul(w.view, begin, end, view, ya.data(), rows + 3);
  b.matmul(w.view, begin, end, view, yb.data(), rows + 3);
  return difference(where + "y", ya.data(), yb.data(), static_cast<std::int64_t>(ya.size()));
}

// --- operators on vectors

std::string compare_elementwise(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const std::int64_t n = random.range(1, 300);
  const bool wild = random.range(0, 1) == 1;
  const std::vector<float> x = wild ? random.anys(n) : random.normals(n), u = random.anys(n);
  const float c = random.any();
  const float* xs = x.data();
  const float* us = u.data();
  std::string found;
  // Runs the operator of both sets on copies of u and compares what it made of them.
  auto check = [&](const char* what, std::int64_t size, auto op) {
    if (!found.empty()) return;
    std::vector<float> ra(u), rb(u);
    ra.resize(static_cast<std::size_t>(size)), rb.resize(static_cast<std::size_t>(size));
    op(a, ra.data()), op(b, rb.data());
    found = difference(fmt::format("{} n {}", what, n), ra.data(), rb.data(), size);
  };
  using T = const KernelTable&;
  check("rms_norm", n, [&](T t, float* r) { t.rms_norm(xs, us, n, 1e-6f, r); });
  check("rms_norm without weight", n, [&](T t, float* r) { t.rms_norm(xs, nullptr, n, 1e-6f, r); });
  check("rms_scale", 1, [&](T t, float* r) { *r = t.rms_scale(xs, n, 1e-6f); });
  check("swiglu", n, [&](T t, float* r) { t.swiglu(xs, us, 1.25f, c, n, r); });
  check("swiglu without limit", n, [&](T t, float* r) { t.swiglu(xs, us, 0, c, n, r); });
  check("axpy", n, [&](T t, float* r) { t.axpy(c, xs, n, r); });
  check("scale", n, [&](T t, float* r) { t.scale(c, xs, n, r); });
  check("sqrt_softplus", n, [&](T t, float* r) { t.sqrt_softplus(xs, n, r); });
  check("sigmoid", n, [&](T t, float* r) { t.sigmoid(xs, n, r); });
  check("round_fp8", n, [&](T t, float* r) { t.round_fp8(r, n, 64); });
  check("round_fp8 by 128", n, [&](T t, float* r) { t.round_fp8(r, n, 128); });
  check("round_fp4", n, [&](T t, float* r) { t.round_fp4(r, n, 32); });
  check("rotate", n, [&](T t, float* r) { t.rotate(r, xs, xs + n / 4, n / 2 < n - n / 4 ? n / 2 : n - n / 4); });
  std::vector<std::uint16_t> halves(static_cast<std::size_t>(n));
  for (auto& h : halves) h = static_cast<std::uint16_t>(random.next());
  check("widen_bf16", n, [&](T t, float* r) { t.widen_bf16(halves.data(), n, r); });
  std::int64_t power = 1;
  while (power * 2 <= n) power *= 2;
  check("hadamard", power, [&](T t, float* r) { t.hadamard(r, power); });
  const int members = static_cast<int>(random.range(1, 9));
  std::vector<std::vector<float>> values, gates;
  std::vector<const float*> vp, gp;
  for (int i = 0; i < members; ++i) values.push_back(random.anys(n)), gates.push_back(random.anys(n));
  for (int i = 0; i < members; ++i)
    vp.push_back(values[static_cast<std::size_t>(i)].data()), gp.push_back(gates[static_cast<std::size_t>(i)].data());
  check("pool", n, [&](T t, float* r) { t.pool(vp.data(), gp.data(), members, n, r); });
  return found;
}

std::string compare_hyper_connection(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const int n = static_cast<int>(random.range(1, 6));
  const std::int64_t width = 2 * n + n * n, d = random.range(1, 100);
  const auto mix = random.normals(width), base = random.normals(width), scale = random.normals(3);
  std::vector<float> ca(static_cast<std::size_t>(width)), cb = ca;
  auto coefficients = [&](const KernelTable& t, std::vector<float>& c) {
    t.hc_coefficients(mix.data(), base.data(), scale.data(), n, 20, 1e-6f, c.data(), c.data() + n, c.data() + 2 * n);
  };
  coefficients(a, ca), coefficients(b, cb);
  if (auto bad = difference("hc_coefficients", ca.data(), cb.data(), width); !bad.empty()) return bad;
  std::vector<float> sa = random.anys(n * d), sb = sa, y = random.anys(d), oa(y), ob(y);
  a.hc_pre(sa.data(), ca.data(), n, d, oa.data());
  b.hc_pre(sb.data(), ca.data(), n, d, ob.data());
  if (auto bad = difference("hc_pre", oa.data(), ob.data(), d); !bad.empty()) return bad;
  a.hc_post(y.data(), ca.data() + n, ca.data() + 2 * n, n, d, sa.data());
  b.hc_post(y.data(), ca.data() + n, ca.data() + 2 * n, n, d, sb.data());
  return difference("hc_post", sa.data(), sb.data(), n * d);
}

// --- cache rows

std::string compare_rows(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const int rope = static_cast<int>(random.range(0, 40)) * 2;
  const RowShape shape{rope + static_cast<int>(random.range(1, 150)) * 2, rope};
  auto kv = random.range(0, 1) == 1 ? random.anys(shape.head_dim) : random.normals(shape.head_dim);
  std::vector<std::byte> ra(static_cast<std::size_t>(shape.packed_bytes())), rb = ra;
  a.encode_row(shape, kv.data(), ra.data());
  b.encode_row(shape, kv.data(), rb.data());
  if (ra != rb) return "encode_row differs";
  for (auto& byte : ra)
    if (random.range(0, 20) == 0) byte = static_cast<std::byte>(random.next());  // what a damaged page may hold
  auto va = kv, vb = kv;
  a.decode_row(shape, ra.data(), va.data());
  b.decode_row(shape, ra.data(), vb.data());
  if (auto bad = difference("decode_row", va.data(), vb.data(), shape.head_dim); !bad.empty()) return bad;

  const int dim = static_cast<int>(random.range(1, 5)) * 32, lane = static_cast<int>(random.range(0, 15));
  auto key = random.anys(dim);
  std::vector<std::byte> ta(static_cast<std::size_t>(dim / 32 * kFp4TileBytes), std::byte{0xa5}), tb = ta;
  a.encode_index_key(key.data(), dim, ta.data(), lane);
  b.encode_index_key(key.data(), dim, tb.data(), lane);
  if (ta != tb) return "encode_index_key differs";
  auto ka = key, kb = key;
  a.decode_index_key(ta.data(), lane, dim, ka.data());
  b.decode_index_key(ta.data(), lane, dim, kb.data());
  if (auto bad = difference("decode_index_key", ka.data(), kb.data(), dim); !bad.empty()) return bad;

  auto q = random.anys(3 * dim);
  std::vector<std::int8_t> qa(q.size()), qb(q.size());
  std::vector<float> sa(q.size() / 32), sb(q.size() / 32);
  a.encode_index_query(q.data(), 3, dim, qa.data(), sa.data());
  b.encode_index_query(q.data(), 3, dim, qb.data(), sb.data());
  if (qa != qb) return "encode_index_query differs";
  return difference("query scales", sa.data(), sb.data(), static_cast<std::int64_t>(sa.size()));
}

// --- attention

std::string compare_attention(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const bool release = random.range(0, 3) == 0;
  const int rope = static_cast<int>(random.range(0, 4)) * 16;
  const RowShape shape = release ? RowShape{512, 64} : RowShape{rope + static_cast<int>(random.range(1, 24)) * 2, rope};
  const int heads = static_cast<int>(random.range(1, 19));
  const std::int64_t rows = random.range(0, 3) == 0 ? random.range(200, 600) : random.range(0, 150);
  const std::int64_t hole = random.range(-2, 4);  // a block without a visible row
  const bool packed = random.range(0, 2) != 0, damaged = random.range(0, 1) == 0;
  const std::int64_t row_bytes = packed ? shape.packed_bytes() : shape.head_dim * 4;
  std::vector<std::byte> storage(static_cast<std::size_t>(rows * row_bytes));
  std::vector<const std::byte*> list;
  for (std::int64_t i = 0; i < rows; ++i) {
    auto kv = random.normals(shape.head_dim);
    std::byte* row = storage.data() + i * row_bytes;
    if (packed) {
      a.encode_row(shape, kv.data(), row);
      if (damaged && random.range(0, 9) == 0)
        row[random.range(0, row_bytes - 1)] = static_cast<std::byte>(random.next());
    } else {
      std::memcpy(row, kv.data(), kv.size() * 4);
    }
    const bool masked_block = hole >= 0 && i / kAttendBlock == hole;
    list.push_back(masked_block || random.range(0, 9) == 0 ? nullptr : row);
  }
  if (random.range(0, 5) == 0) std::fill(list.begin(), list.end(), nullptr);
  const auto q = random.normals(heads * shape.head_dim);
  const std::size_t d = static_cast<std::size_t>(heads) * static_cast<std::size_t>(shape.head_dim);
  auto run = [&](const KernelTable& t, std::vector<float>& out) {
    AlignedBytes scratch(t.attend_scratch_bytes(shape, heads));
    const auto h = static_cast<std::size_t>(heads);
    out.assign(2 * h + 2 * d, 3.0f);
    AttendArgs args{shape,  heads,      q.data(),       list.data(),        rows,
                    0.125f, out.data(), out.data() + h, out.data() + 2 * h, scratch.data()};
    (packed ? t.attend_packed : t.attend_f32)(args);
    std::vector<float> sinks(h, 0.5f);
    t.attend_merge(args.max, args.sum, args.acc, 1, heads, shape.head_dim, sinks.data(), out.data() + 2 * h + d);
  };
  std::vector<float> oa, ob;
  run(a, oa), run(b, ob);
  return difference(fmt::format("attention D {} rope {} heads {} rows {} packed {}", shape.head_dim, shape.rope_dim,
                                heads, rows, packed),
                    oa.data(), ob.data(), static_cast<std::int64_t>(oa.size()));
}

// --- indexer and selection

std::string compare_indexer(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const int heads = static_cast<int>(random.range(1, 3) == 1 ? 64 : random.range(1, 40));
  const int dim = random.range(0, 1) == 1 ? 128 : static_cast<int>(random.range(1, 6)) * 32;
  const std::int64_t tiles = random.range(1, 7);
  const bool wild = random.range(0, 2) == 0;
  std::vector<std::byte> keys(static_cast<std::size_t>(tiles * dim / 32 * kFp4TileBytes));
  const int spread = static_cast<int>(random.range(0, 5));  // of block exponents; few spreads fold into int8
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys[i] = static_cast<std::byte>(random.next());
    if (i % kFp4TileBytes >= 256)
      keys[i] = static_cast<std::byte>(wild ? random.range(0, 254) : random.range(124, 124 + spread));
  }
  std::vector<float> q = wild ? random.anys(heads * dim) : random.normals(heads * dim);
  std::vector<std::int8_t> codes(q.size());
  std::vector<float> scales(q.size() / 32);
  a.encode_index_query(q.data(), heads, dim, codes.data(), scales.data());
  const auto weight = wild ? random.anys(heads) : random.normals(heads);
  std::vector<float> sa(static_cast<std::size_t>(16 * tiles)), sb = sa;
  // One set gets the keys in one piece, the other in pages.
  const std::byte* whole = keys.data();
  IndexArgs args{heads, dim, codes.data(), scales.data(), weight.data(), &whole, tiles, tiles, sa.data(), nullptr};
  a.index_scores_packed(args);
  args.scores = sb.data();
  args.page_tiles = random.range(1, static_cast<int>(tiles));
  std::vector<const std::byte*> pages;
  for (std::int64_t t = 0; t < tiles; t += args.page_tiles)
    pages.push_back(keys.data() + t * (dim / 32) * kFp4TileBytes);
  args.pages = pages.data();
  b.index_scores_packed(args);
  std::string where =
      fmt::format("heads {} dim {} tiles {} spread {}{}", heads, dim, tiles, spread, wild ? " wild" : "");
  if (auto bad = difference("index_scores_packed " + where, sa.data(), sb.data(), 16 * tiles); !bad.empty()) return bad;

  const auto rows = random.normals(5 * dim);
  const auto* key = reinterpret_cast<const std::byte*>(rows.data());
  args = {heads, dim, nullptr, nullptr, weight.data(), &key, 5, 5, sa.data(), q.data()};
  a.index_scores_f32(args);
  args.scores = sb.data();
  b.index_scores_f32(args);
  return difference("index_scores_f32 " + where, sa.data(), sb.data(), 5);
}

std::string compare_top_k(const KernelTable& a, const KernelTable& b, Random& random) {
  FlushDenormals flush;
  const std::int64_t n = random.range(0, 4) == 0 ? random.range(16384, 40000) : random.range(1, 600);
  const std::int64_t k = random.range(1, n < 600 ? n : 700);
  const int shape = static_cast<int>(random.range(0, 5));
  std::vector<float> s(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    auto v = static_cast<float>(i);
    s[static_cast<std::size_t>(i)] = shape == 0   ? v
                                     : shape == 1 ? -v
                                     : shape == 2 ? 1.0f
                                     : shape == 3 ? static_cast<float>(random.range(-3, 3))
                                     : shape == 4 ? random.any()
                                                  : random.normal();
  }
  std::vector<std::int32_t> ia(static_cast<std::size_t>(k), -1), ib = ia, scratch(static_cast<std::size_t>(n));
  a.top_k(s.data(), n, k, ia.data(), scratch.data());
  b.top_k(s.data(), n, k, ib.data(), scratch.data());
  return ia == ib ? "" : fmt::format("top_k n {} k {} shape {} differs", n, k, shape);
}

}  // namespace hadal::testing
