// Rows of a matrix added up and multiplied: what sums over entries are made of.

#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(address) __builtin_prefetch(address)
#define INLINE __attribute__((always_inline)) inline
#else
#error "needs the vectors of GCC or Clang"
#endif

using Index = std::int64_t;

namespace {

constexpr Index LANES = 16;  // partial sums of a dot product: fixed, whatever the processor
constexpr Index AHEAD = 8;   // entries whose rows' beginnings are fetched beforehand

// row += Σ weight · table[place], four at a time: the row is then read and written a quarter as
// often.
template <class T>
void add_rows(T* __restrict row, const T* __restrict table, const Index* places,
              const Index* order, const T* weights, Index n, Index width) {
    auto weight = [&](Index e) { return weights[order ? order[e] : e]; };
    Index e = 0;
    for (; e + 4 <= n; e += 4) {
        for (Index ahead = e + AHEAD; ahead < std::min(e + AHEAD + 4, n); ++ahead)
            FETCH(table + places[ahead] * width);
        const T *a = table + places[e] * width, *b = table + places[e + 1] * width;
        const T *c = table + places[e + 2] * width, *f = table + places[e + 3] * width;
        const T v = weight(e), w = weight(e + 1), x = weight(e + 2), y = weight(e + 3);
        for (Index d = 0; d < width; ++d) row[d] += (v * a[d] + w * b[d]) + (x * c[d] + y * f[d]);
    }
    for (; e < n; ++e) {
        const T* a = table + places[e] * width;
        const T v = weight(e);
        for (Index d = 0; d < width; ++d) row[d] += v * a[d];
    }
}

template <class T>
T dot(const T* __restrict a, const T* __restrict b, Index width) {
    T lanes[LANES] = {};
    Index d = 0;
    for (; d + LANES <= width; d += LANES)
        for (Index l = 0; l < LANES; ++l) lanes[l] += a[d + l] * b[d + l];
    for (; d < width; ++d) lanes[d % LANES] += a[d] * b[d];
    for (Index half = LANES / 2; half; half /= 2)
        for (Index l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
}

}  // namespace
