// The two-loop recursion of L-BFGS over vectors that fit the cache: forty products and as many sums
// of some thousand numbers, where the calls would take longer than the work. Sums are made in lanes
// of a fixed number, whatever the processor.

#include <cstdint>

#if !defined(__GNUC__) && !defined(__clang__)
#error "needs the vectors of GCC or Clang"
#endif

using Index = std::int64_t;

namespace {

constexpr Index LANES = 32;

template <class T>
T dot(const T* __restrict a, const T* __restrict b, Index n) {
    T lanes[LANES] = {};
    Index i = 0;
    for (; i + LANES <= n; i += LANES)
        for (Index l = 0; l < LANES; ++l) lanes[l] += a[i + l] * b[i + l];
    for (; i < n; ++i) lanes[i % LANES] += a[i] * b[i];
    for (Index half = LANES / 2; half; half /= 2)
        for (Index l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
}

template <class T>
void add_multiple(T* __restrict to, const T* __restrict from, T factor, Index n) {
    for (Index i = 0; i < n; ++i) to[i] += factor * from[i];
}

// direction, which comes as −gradient, becomes −H gradient. Steps, changes of the gradient and their
// products are in the order in which they were made; `alphas` [pairs] is room to work in.
// Source: Nocedal & Wright 2006, algorithm 7.4. Exact.
template <class T>
void direct(Index pairs, Index n, const T* const* steps, const T* const* changes,
            const double* curvatures, double* alphas, T* direction) {
    for (Index p = pairs - 1; p >= 0; --p) {
        alphas[p] = dot(steps[p], direction, n) / curvatures[p];
        add_multiple(direction, changes[p], T(-alphas[p]), n);
    }
    const T* newest = changes[pairs - 1];
    const T scale = T(curvatures[pairs - 1] / dot(newest, newest, n));
    for (Index i = 0; i < n; ++i) direction[i] *= scale;
    for (Index p = 0; p < pairs; ++p) {
        const double beta = dot(changes[p], direction, n) / curvatures[p];
        add_multiple(direction, steps[p], T(alphas[p] - beta), n);
    }
}

}  // namespace

extern "C" {

void direct_float32(Index pairs, Index n, const float* const* steps, const float* const* changes,
                    const double* curvatures, double* alphas, float* direction) {
    direct<float>(pairs, n, steps, changes, curvatures, alphas, direction);
}

void direct_float64(Index pairs, Index n, const double* const* steps, const double* const* changes,
                    const double* curvatures, double* alphas, double* direction) {
    direct<double>(pairs, n, steps, changes, curvatures, alphas, direction);
}

}  // extern "C"
