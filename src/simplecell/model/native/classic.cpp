// Cost and gradient of one hidden layer with elementwise activations, block of rows by block of
// rows, so that what a block makes is used while it is in the cache. As in `entries.cpp`: plain C
// functions, no threads of its own. Samples fall into a number of chunks that is given; what is
// summed over samples is summed per chunk and then over the chunks in their order, so that no bit
// depends on who computes which chunk.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__GNUC__) || defined(__clang__)
#define INLINE __attribute__((always_inline)) inline
#else
#error "needs the vectors of GCC or Clang"
#endif

using Index = std::int64_t;

namespace {

#ifdef __AVX__
constexpr Index BYTES = 32;
#else
constexpr Index BYTES = 16;
#endif
constexpr Index ROWS = 48;  // of a block: a multiple of the tile's, and few enough for the cache
constexpr Index TILE = 6;   // rows of a product made together; times 2 vectors they fill 12 of 16
                            // registers, which hides how long a multiplication takes

enum Kind : Index { IDENTITY, SIGMOID, TANH, RELU };

template <class T>
struct Bits;
template <>
struct Bits<float> {
    using Whole = std::int32_t;
    static constexpr int FRACTION = 23, TERMS = 7;
    static constexpr float HIGH = 0x1.62e4p-1f, LOW = 0x1.7f7d1cp-20f, LEAST = -87, MOST = 88;
    static constexpr Whole ONE = 0x3F800000;
};
template <>
struct Bits<double> {
    using Whole = std::int64_t;
    static constexpr int FRACTION = 52, TERMS = 13;
    static constexpr double HIGH = 0x1.62e42feep-1, LOW = 0x1.a39ef35793c76p-33;
    static constexpr double LEAST = -708, MOST = 709;
    static constexpr Whole ONE = 0x3FF0000000000000;
};

template <class T>
constexpr Index LANES = BYTES / sizeof(T);

template <class T>
struct Of {
    typedef T Values __attribute__((vector_size(BYTES)));
    typedef typename Bits<T>::Whole Wholes __attribute__((vector_size(BYTES)));
};
template <class T>
using Vector = typename Of<T>::Values;

template <class T>
INLINE void load(Vector<T>& values, const T* from) {
    std::memcpy(&values, from, sizeof values);
}

template <class T>
INLINE void store(T* to, const Vector<T>& values) {
    std::memcpy(to, &values, sizeof values);
}

// The first n lanes, the others 0.
template <class T>
INLINE void load_some(Vector<T>& values, const T* from, Index n) {
    if (n >= LANES<T>) return load<T>(values, from);
    T lanes[LANES<T>] = {};
    for (Index l = 0; l < n; ++l) lanes[l] = from[l];
    load<T>(values, lanes);
}

template <class T>
INLINE void store_some(T* to, const Vector<T>& values, Index n) {
    if (n >= LANES<T>) return store<T>(to, values);
    T lanes[LANES<T>];
    store<T>(lanes, values);
    for (Index l = 0; l < n; ++l) to[l] = lanes[l];
}

template <class T>
constexpr T inverse_factorial(int k) {
    return k < 2 ? T(1) : inverse_factorial<T>(k - 1) / T(k);
}

// sum → (sum · r + 1/K!) · r + … + 1/1!
template <class T, int K>
INLINE void horner(Vector<T>& sum, const Vector<T>& r) {
    sum = sum * r + inverse_factorial<T>(K);
    if constexpr (K > 1) horner<T, K - 1>(sum, r);
}

// e^x = power · (1 + rest), with a power of 2 and |rest| small: x = n ln 2 + r, |r| ≤ ln 2 / 2, where
// e^r − 1 = r + r²/2 + … needs few terms. Adding 1.5 · 2^FRACTION rounds to a whole n and leaves it in
// the lowest bits, from where it is shifted into the exponent. What would leave the normal numbers
// stays at their ends; what is no number stays none.
template <class T>
INLINE void split(const Vector<T>& given, Vector<T>& power, Vector<T>& rest) {
    using B = Bits<T>;
    const Vector<T> least = Vector<T>{} + B::LEAST, most = Vector<T>{} + B::MOST;
    Vector<T> x = least > given ? least : given;  // in this order what is no number stays
    x = most < x ? most : x;
    const T round = T(1.5) * T(Index(1) << B::FRACTION);
    const Vector<T> shifted = x * T(1.4426950408889634074) + round;
    const Vector<T> n = shifted - round;
    const Vector<T> r = (x - n * B::HIGH) - n * B::LOW;
    Vector<T> sum = Vector<T>{} + inverse_factorial<T>(B::TERMS);
    horner<T, B::TERMS - 1>(sum, r);
    rest = sum * r;
    typename Of<T>::Wholes bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << B::FRACTION) + B::ONE;
    std::memcpy(&power, &bits, sizeof power);
}

template <class T>
INLINE void sigmoid(Vector<T>& x) {
    Vector<T> power, rest;
    split<T>(-x, power, rest);
    x = T(1) / (T(1) + (power + power * rest));
}

// tanh |x| = E / (E + 2) with E = e^2|x| − 1, which is made without a difference of near equals.
template <class T>
INLINE void hyperbolic(Vector<T>& x) {
    const Vector<T> zero = {};
    Vector<T> power, rest;
    split<T>(x < zero ? x * T(-2) : x * T(2), power, rest);
    const Vector<T> over = power * rest + (power - T(1));
    const Vector<T> found = over / (over + T(2));
    x = x < zero ? -found : found;
}

template <class T, Kind KIND>
INLINE void activate(Vector<T>& x) {
    if (KIND == SIGMOID) {
        sigmoid<T>(x);
    } else if (KIND == TANH) {
        hyperbolic<T>(x);
    } else if (KIND == RELU) {
        const Vector<T> zero = {};
        x = x < zero ? zero : x;
    }
}

// grad ∘ f′, in terms of the code.
template <class T, Kind KIND>
INLINE void times_slope(Vector<T>& grad, const Vector<T>& code) {
    if (KIND == SIGMOID) {
        grad = grad * ((T(1) - code) * code);
    } else if (KIND == TANH) {
        grad = grad * (T(1) - code * code);
    } else if (KIND == RELU) {
        const Vector<T> zero = {};
        grad = code <= zero ? zero : grad;
    }
}

// A matrix: element (i, j) is at[i * row + j].
template <class T>
struct Rows {
    T* at;
    Index row;
};

// A row's vectors: `part(j, n)` for each, of which n numbers count. Almost always all of them, which
// the compiler is told.
template <class T, class Part>
INLINE void along(Index width, Part part) {
    Index j = 0;
    for (; j + LANES<T> <= width; j += LANES<T>) part(j, LANES<T>);
    if (j < width) part(j, width - j);
}

// pre → code = f(pre + bias), with its sum over the rows added to `sums`.
template <class T, Kind KIND>
void activate_rows(Index n, Index width, Rows<const T> pre, const T* bias, Rows<T> code, T* sums) {
    for (Index i = 0; i < n; ++i)
        along<T>(width, [&](Index j, Index here) {
            Vector<T> x, b, sum;
            load_some<T>(x, pre.at + i * pre.row + j, here);
            if (bias) {
                load_some<T>(b, bias + j, here);
                x += b;
            }
            activate<T, KIND>(x);
            store_some<T>(code.at + i * code.row + j, x, here);
            load_some<T>(sum, sums + j, here);
            store_some<T>(sums + j, sum + x, here);
        });
}

// recon before its activation → δ = (recon − target) ∘ g′; their sum over rows, and the sum of the
// squared errors: a row in T, rows in float64. Of the `width` the first `real` count.
template <class T, Kind KIND>
double error_rows(Index n, Index width, Index real, Rows<const T> target, const T* offset,
                  Rows<T> delta, T* sums) {
    double total = 0;
    Vector<T> keep;
    for (Index l = 0; l < LANES<T>; ++l) keep[l] = width - LANES<T> + l < real;
    for (Index i = 0; i < n; ++i) {
        Vector<T> squares = {};
        along<T>(width, [&](Index j, Index here) {
            T* place = delta.at + i * delta.row + j;
            Vector<T> x, b, wanted, sum;
            load_some<T>(x, place, here);
            if (offset) {
                load_some<T>(b, offset + j, here);
                x += b;
            }
            activate<T, KIND>(x);
            load_some<T>(wanted, target.at + i * target.row + j, here);
            Vector<T> error = x - wanted;
            if (here < LANES<T>)
                for (Index l = here; l < LANES<T>; ++l) error[l] = 0;
            else if (j + LANES<T> > real)
                error *= keep;
            squares += error * error;
            times_slope<T, KIND>(error, x);
            store_some<T>(place, error, here);
            load_some<T>(sum, sums + j, here);
            store_some<T>(sums + j, sum + error, here);
        });
        double row = 0;
        for (Index l = 0; l < LANES<T>; ++l) row += squares[l];
        total += row;
    }
    return total;
}

// ∂/∂code → ∂/∂pre: (weight · back + push) ∘ f′, and its sum over the rows.
template <class T, Kind KIND>
void back_rows(Index n, Index width, T weight, const T* push, Rows<const T> code, Rows<T> back,
               T* sums) {
    for (Index i = 0; i < n; ++i)
        along<T>(width, [&](Index j, Index here) {
            T* place = back.at + i * back.row + j;
            Vector<T> x, pushed, known, sum;
            load_some<T>(x, place, here);
            load_some<T>(pushed, push + j, here);
            load_some<T>(known, code.at + i * code.row + j, here);
            x = x * weight + pushed;
            times_slope<T, KIND>(x, known);
            store_some<T>(place, x, here);
            load_some<T>(sum, sums + j, here);
            store_some<T>(sums + j, sum + x, here);
        });
}

template <class Function>
INLINE auto by_kind(Index kind, Function function) {
    switch (kind) {
        case SIGMOID: return function(std::integral_constant<Kind, SIGMOID>());
        case TANH: return function(std::integral_constant<Kind, TANH>());
        case RELU: return function(std::integral_constant<Kind, RELU>());
        default: return function(std::integral_constant<Kind, IDENTITY>());
    }
}

// One factor of a product: element (i, k) is at[i * row + k * column].
template <class T>
struct Left {
    const T* at;
    Index row, column;
};

// `from + left · right` into `to`, N rows by W vectors, in registers. `from` with row 0 is one row.
template <class T, int N, int W>
INLINE void tile(Index inner, Left<T> left, Rows<const T> right, Rows<const T> from, Rows<T> to) {
    Vector<T> sums[N][W];
    for (int i = 0; i < N; ++i)
        for (int w = 0; w < W; ++w) load<T>(sums[i][w], from.at + i * from.row + w * LANES<T>);
    for (Index k = 0; k < inner; ++k) {
        Vector<T> values[W];
        for (int w = 0; w < W; ++w) load<T>(values[w], right.at + k * right.row + w * LANES<T>);
        for (int i = 0; i < N; ++i) {
            const T factor = left.at[i * left.row + k * left.column];
            for (int w = 0; w < W; ++w) sums[i][w] += factor * values[w];
        }
    }
    for (int i = 0; i < N; ++i)
        for (int w = 0; w < W; ++w) store<T>(to.at + i * to.row + w * LANES<T>, sums[i][w]);
}

template <class T, int W>
INLINE void tile_of(Index n, Index inner, Left<T> left, Rows<const T> right, Rows<const T> from,
                    Rows<T> to) {
    switch (n) {
        case 1: return tile<T, 1, W>(inner, left, right, from, to);
        case 2: return tile<T, 2, W>(inner, left, right, from, to);
        case 3: return tile<T, 3, W>(inner, left, right, from, to);
        case 4: return tile<T, 4, W>(inner, left, right, from, to);
        case 5: return tile<T, 5, W>(inner, left, right, from, to);
        default: return tile<T, 6, W>(inner, left, right, from, to);
    }
}

// `from + left · right` into `to`: `width` is a multiple of LANES, the n rows fall into tiles of
// about equal height.
template <class T>
void product(Index n, Index width, Index inner, Left<T> left, Rows<const T> right,
             Rows<const T> from, Rows<T> to) {
    const Index tiles = (n + TILE - 1) / TILE;
    for (Index j = 0; j < width; j += 2 * LANES<T>)
        for (Index t = 0; t < tiles; ++t) {
            const Index first = n * t / tiles, rows = n * (t + 1) / tiles - first;
            const Left<T> mine = {left.at + first * left.row, left.row, left.column};
            const Rows<const T> columns = {right.at + j, right.row};
            const Rows<const T> start = {from.at + first * from.row + j, from.row};
            const Rows<T> place = {to.at + first * to.row + j, to.row};
            if (j + 2 * LANES<T> <= width)
                tile_of<T, 2>(rows, inner, mine, columns, start, place);
            else
                tile_of<T, 1>(rows, inner, mine, columns, start, place);
        }
}

template <class T>
constexpr Index padded(Index width) {
    return (width + LANES<T> - 1) / LANES<T> * LANES<T>;
}

// Zeros that begin at a line of the cache: a vector across two lines is read twice.
template <class T>
class Room {
   public:
    explicit Room(Index n) : memory_(static_cast<std::size_t>(n) + 64 / sizeof(T)) {
        const auto over = reinterpret_cast<std::uintptr_t>(memory_.data()) % 64;
        at = memory_.data() + (over ? (64 - over) / sizeof(T) : 0);
    }
    T* at;

   private:
    std::vector<T> memory_;
};

template <class T>
void copy_rows(Index n, Index width, Rows<const T> from, Rows<T> to) {
    for (Index i = 0; i < n; ++i)
        std::copy(from.at + i * from.row, from.at + i * from.row + width, to.at + i * to.row);
}

// Rows that are as wide as whole vectors: a vector must not reach into the row after.
template <class T>
Rows<const T> within(Index n, Index width, Rows<const T> from, Rows<T> place) {
    if (from.row == place.row) return from;
    copy_rows<T>(n, width, from, place);
    return {place.at, place.row};
}

template <class T>
void transpose(Index n, Index width, const T* from, Rows<T> to) {
    for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < width; ++j) to.at[j * to.row + i] = from[i * width + j];
}

// What every function is told: samples, inputs D, outputs E, latents M, from one row of codes, or
// of what flows back into them, to the next, chunks, kinds of activation.
struct Sizes {
    Index samples, inputs, outputs, latents, apart, chunks, activation, output;
    Index start(Index chunk) const { return samples * chunk / chunks; }
};

// code [samples, latents] of x [samples, inputs], and their sums of each chunk [chunks, latents].
// Rows of codes are `apart`: as wide as whole vectors.
template <class T>
void encode(Index first, Index last, Sizes s, const T* x, const T* encoder, const T* bias, T* code,
            T* code_sums) {
    const Index wide = s.apart;
    Room<T> across(s.inputs * wide), start(wide), sums(wide);
    transpose<T>(s.latents, s.inputs, encoder, {across.at, wide});
    std::copy(bias, bias + s.latents, start.at);
    for (Index c = first; c < last; ++c) {
        std::fill(sums.at, sums.at + wide, T(0));
        for (Index i = s.start(c); i < s.start(c + 1); i += ROWS) {
            const Index n = std::min(ROWS, s.start(c + 1) - i);
            const Rows<T> codes = {code + i * wide, wide};
            product<T>(n, wide, s.inputs, {x + i * s.inputs, s.inputs, 1}, {across.at, wide},
                       {start.at, 0}, codes);
            by_kind(s.activation, [&](auto kind) {
                activate_rows<T, kind.value>(n, wide, {codes.at, wide}, nullptr, codes, sums.at);
            });
        }
        std::copy(sums.at, sums.at + s.latents, code_sums + c * s.latents);
    }
}

// The numbers a chunk adds up: as vectors want them, and without the gaps between them.
template <class T>
struct Totals {
    Totals(Sizes s, Index in, Index out)
        : size(s.latents * (in + out) + out + s.apart),
          room(size),
          decoder(room.at),
          encoder(decoder + s.latents * out),
          offset(encoder + s.latents * in),
          bias(offset + out) {}

    void write(Sizes s, Index in, Index out, T* part) const {
        copy_rows<T>(s.latents, s.outputs, {decoder, out}, {part, s.outputs});
        part += s.latents * s.outputs;
        copy_rows<T>(s.latents, s.inputs, {encoder, in}, {part, s.inputs});
        part += s.latents * s.inputs;
        std::copy(offset, offset + s.outputs, part);
        std::copy(bias, bias + s.latents, part + s.outputs);
    }

    Index size;
    Room<T> room;
    T *decoder, *encoder, *offset, *bias;
};

// Of each chunk the sum of squared errors [chunks], and of ∂/∂decoder [M, E], ∂/∂encoder [M, D],
// ∂/∂offset [E], ∂/∂bias [M], one after the other in `parts`, before any division.
template <class T>
void differentiate(Index first, Index last, Sizes s, const T* x, const T* target, const T* code,
                   const T* decoder, const T* offset, T weight, const T* push, double* squares,
                   T* parts) {
    const Index D = s.inputs, E = s.outputs, M = s.latents;
    const Index high = s.apart, in = padded<T>(D), out = padded<T>(E);
    Room<T> atoms(M * out), across(E * high), start(out), none(high), pushes(high);
    Room<T> delta(ROWS * out), back(ROWS * high), given(ROWS * in), aims(ROWS * out);
    Totals<T> sums(s, in, out);
    copy_rows<T>(M, E, {decoder, E}, {atoms.at, out});
    transpose<T>(M, E, decoder, {across.at, high});
    std::copy(offset, offset + E, start.at);
    std::copy(push, push + M, pushes.at);
    for (Index c = first; c < last; ++c) {
        std::fill(sums.room.at, sums.room.at + sums.size, T(0));
        squares[c] = 0;
        for (Index i = s.start(c); i < s.start(c + 1); i += ROWS) {
            const Index n = std::min(ROWS, s.start(c + 1) - i);
            const T* codes = code + i * high;
            const auto rows = within<T>(n, D, {x + i * D, D}, {given.at, in});
            const auto aim = within<T>(n, E, {target + i * E, E}, {aims.at, out});
            product<T>(n, out, M, {codes, high, 1}, {atoms.at, out}, {start.at, 0},
                       {delta.at, out});
            by_kind(s.output, [&](auto kind) {
                squares[c] += error_rows<T, kind.value>(n, out, E, aim, nullptr, {delta.at, out},
                                                        sums.offset);
            });
            product<T>(n, high, E, {delta.at, out, 1}, {across.at, high}, {none.at, 0},
                       {back.at, high});
            by_kind(s.activation, [&](auto kind) {
                back_rows<T, kind.value>(n, high, weight, pushes.at, {codes, high},
                                         {back.at, high}, sums.bias);
            });
            product<T>(M, out, n, {codes, 1, high}, {delta.at, out}, {sums.decoder, out},
                       {sums.decoder, out});
            product<T>(M, in, n, {back.at, 1, high}, rows, {sums.encoder, in}, {sums.encoder, in});
        }
        sums.write(s, in, out, parts + c * (M * (D + E) + E + M));
    }
}

// The passes around matrix products that somebody else makes: each in place, sums of each chunk.
template <class T>
void activated(Index first, Index last, Sizes s, const T* bias, T* code, T* code_sums) {
    for (Index c = first; c < last; ++c) {
        T* total = code_sums + c * s.latents;
        std::fill(total, total + s.latents, T(0));
        const Index i = s.start(c), n = s.start(c + 1) - i;
        by_kind(s.activation, [&](auto kind) {
            activate_rows<T, kind.value>(n, s.latents, {code + i * s.apart, s.apart}, bias,
                                         {code + i * s.apart, s.apart}, total);
        });
    }
}

template <class T>
void deltas(Index first, Index last, Sizes s, const T* target, const T* offset, T* recon,
            double* squares, T* sums) {
    for (Index c = first; c < last; ++c) {
        T* total = sums + c * s.outputs;
        std::fill(total, total + s.outputs, T(0));
        const Index i = s.start(c), n = s.start(c + 1) - i;
        by_kind(s.output, [&](auto kind) {
            squares[c] = error_rows<T, kind.value>(
                n, s.outputs, s.outputs, {target + i * s.outputs, s.outputs}, offset,
                {recon + i * s.outputs, s.outputs}, total);
        });
    }
}

template <class T>
void pushed(Index first, Index last, Sizes s, T weight, const T* push, const T* code, T* back,
            T* sums) {
    for (Index c = first; c < last; ++c) {
        T* total = sums + c * s.latents;
        std::fill(total, total + s.latents, T(0));
        const Index i = s.start(c), n = s.start(c + 1) - i;
        by_kind(s.activation, [&](auto kind) {
            back_rows<T, kind.value>(n, s.latents, weight, push, {code + i * s.apart, s.apart},
                                     {back + i * s.apart, s.apart}, total);
        });
    }
}

// out += scale · Σ over chunks, whose parts [n] begin `apart` numbers from one another.
template <class T>
void add_chunks(Index chunks, Index apart, Index n, const T* parts, T scale, T* out) {
    for (Index i = 0; i < n; ++i) {
        double total = 0;
        for (Index c = 0; c < chunks; ++c) total += parts[c * apart + i];
        out[i] += T(scale * total);
    }
}

}  // namespace

#define FUNCTIONS(T, NAME)                                                                        \
    void encode_##NAME(Index first, Index last, const Sizes* sizes, const T* x, const T* encoder, \
                       const T* bias, T* code, T* code_sums) {                                    \
        encode<T>(first, last, *sizes, x, encoder, bias, code, code_sums);                        \
    }                                                                                             \
    void differentiate_##NAME(Index first, Index last, const Sizes* sizes, const T* x,            \
                              const T* target, const T* code, const T* decoder, const T* offset,  \
                              T weight, const T* push, double* squares, T* parts) {               \
        differentiate<T>(first, last, *sizes, x, target, code, decoder, offset, weight, push,     \
                         squares, parts);                                                         \
    }                                                                                             \
    void activated_##NAME(Index first, Index last, const Sizes* sizes, const T* bias, T* code,    \
                          T* code_sums) {                                                         \
        activated<T>(first, last, *sizes, bias, code, code_sums);                                 \
    }                                                                                             \
    void deltas_##NAME(Index first, Index last, const Sizes* sizes, const T* target,              \
                       const T* offset, T* recon, double* squares, T* sums) {                     \
        deltas<T>(first, last, *sizes, target, offset, recon, squares, sums);                     \
    }                                                                                             \
    void pushed_##NAME(Index first, Index last, const Sizes* sizes, T weight, const T* push,      \
                       const T* code, T* back, T* sums) {                                         \
        pushed<T>(first, last, *sizes, weight, push, code, back, sums);                           \
    }                                                                                             \
    void add_chunks_##NAME(Index chunks, Index apart, Index n, const T* parts, T scale, T* out) { \
        add_chunks<T>(chunks, apart, n, parts, scale, out);                                       \
    }

extern "C" {

FUNCTIONS(float, float32)
FUNCTIONS(double, float64)

}  // extern "C"
