// One update of a model with sparse codes and a squared error, in two passes: over samples, which
// decodes and finds what is owed to each entry, and over latents, which makes the gradient of a row
// of the encoder and of the decoder and moves both by Adam while they are at hand. No gradient is
// ever written to memory. Each range of rows writes what is its own: no sum depends on the ranges.

#include <cmath>
#include <limits>
#include <vector>

#include "rows.hpp"

namespace {

// Adam's numbers at one step: the learning rate over one less beta1 to the power of the step, and
// the reciprocal of the root of one less beta2 to that power.
struct Pace {
    double keep_mean, keep_square, rate, root, epsilon;
};

// A matrix of latents with both its moments.
template <class T>
struct Moved {
    T *rows, *means, *squares;
    const T* more;  // null, or what is in the gradient beside the sums over entries
};

template <class T>
void adam(T* __restrict parameter, T* __restrict mean, T* __restrict square,
          const T* __restrict grad, Index width, const Pace& pace) {
    const T keep = T(pace.keep_square), fresh = T(1 - pace.keep_square);
    const T part = T(1 - pace.keep_mean), rate = T(pace.rate), root = T(pace.root);
    const T epsilon = T(pace.epsilon);
    for (Index d = 0; d < width; ++d) {
        const T g = grad[d];
        const T m = mean[d] + part * (g - mean[d]);
        const T s = keep * square[d] + fresh * g * g;
        mean[d] = m;
        square[d] = s;
        parameter[d] -= rate * m / (std::sqrt(s) * root + epsilon);
    }
}

// recon = offset + Σ code · atom; delta = scale · (recon − target); owed = ⟨delta, atom⟩ + pull,
// where the code is not 0. pull is null, or one number a latent.
template <class T>
void residuals(Index first, Index last, const Index* offsets, const Index* latents, const T* pre,
               Index n_latents, const T* dictionary, const T* offset, const T* target, Index width,
               double scale, const T* pull, T* deltas, T* values, T* owed, double* squares) {
    for (Index i = first; i < last; ++i) {
        T* row = deltas + i * width;
        const T* wanted = target + i * width;
        const Index start = offsets[i], end = offsets[i + 1];
        for (Index e = start; e < end; ++e) {
            const T value = pre[i * n_latents + latents[e]];
            values[e] = value <= 0 ? T(0) : value;  // what is no number stays none
        }
        std::copy(offset, offset + width, row);
        add_rows<T>(row, dictionary, latents + start, nullptr, values + start, end - start, width);
        for (Index d = 0; d < width; ++d) row[d] -= wanted[d];
        squares[i] = double(dot<T>(row, row, width));
        for (Index d = 0; d < width; ++d) row[d] *= T(scale);
        for (Index e = start; e < end; ++e) {
            if (e + AHEAD < end) FETCH(dictionary + latents[e + AHEAD] * width);
            const T along = dot<T>(row, dictionary + latents[e] * width, width);
            const bool on = values[e] != T(0);
            owed[e] = on ? along + (pull ? pull[latents[e]] : T(0)) : T(0);
        }
    }
}

// What an update of latents needs: the entries latent after latent, and what is owed.
template <class T>
struct Owed {
    const Index *starts, *samples, *order;
    const T *values, *owed;   // of each entry
    const T *x, *deltas;      // [B, D] and [B, D_out]
    const T* stretch;         // null, or how much of itself is in the gradient of each atom
    Index n_inputs, n_outputs;
    Index unit;  // atoms stay at length 1
};

template <class T>
void update(Index first, Index last, const Owed<T>& of, const Pace& pace, Moved<T> encoder,
            Moved<T> decoder) {
    std::vector<T> grad(static_cast<std::size_t>(std::max(of.n_inputs, of.n_outputs)));
    T* row = grad.data();
    for (Index m = first; m < last; ++m) {
        const Index start = of.starts[m], n = of.starts[m + 1] - start;
        const Index *samples = of.samples + start, *order = of.order + start;

        Index width = of.n_inputs, at = m * width;
        std::fill(row, row + width, T(0));
        add_rows<T>(row, of.x, samples, order, of.owed, n, width);
        if (encoder.more)
            for (Index d = 0; d < width; ++d) row[d] += encoder.more[at + d];
        adam<T>(encoder.rows + at, encoder.means + at, encoder.squares + at, row, width, pace);

        width = of.n_outputs, at = m * width;
        T* atom = decoder.rows + at;
        std::fill(row, row + width, T(0));
        add_rows<T>(row, of.deltas, samples, order, of.values, n, width);
        if (decoder.more)
            for (Index d = 0; d < width; ++d) row[d] += decoder.more[at + d];
        if (of.stretch)
            for (Index d = 0; d < width; ++d) row[d] += of.stretch[m] * atom[d];
        if (of.unit) {
            const T along = dot<T>(row, atom, width);
            for (Index d = 0; d < width; ++d) row[d] -= along * atom[d];
        }
        adam<T>(atom, decoder.means + at, decoder.squares + at, row, width, pace);
        if (of.unit) {
            const T length = std::sqrt(dot<T>(atom, atom, width));
            const T by = std::max(length, std::numeric_limits<T>::min());
            for (Index d = 0; d < width; ++d) atom[d] /= by;
        }
    }
}

}  // namespace

#define FUNCTIONS(T, NAME)                                                                        \
    void residuals_##NAME(Index first, Index last, const Index* offsets, const Index* latents,    \
                          const T* pre, Index n_latents, const T* dictionary, const T* offset,    \
                          const T* target, Index width, double scale, const T* pull, T* deltas,   \
                          T* values, T* owed, double* squares) {                                  \
        residuals<T>(first, last, offsets, latents, pre, n_latents, dictionary, offset, target,   \
                     width, scale, pull, deltas, values, owed, squares);                          \
    }                                                                                             \
    void update_##NAME(Index first, Index last, const Owed<T>* of, const Pace* pace,              \
                       const Moved<T>* encoder, const Moved<T>* decoder) {                        \
        update<T>(first, last, *of, *pace, *encoder, *decoder);                                   \
    }                                                                                             \
    void adam_##NAME(const Moved<T>* moved, const T* grad, Index width, const Pace* pace) {       \
        adam<T>(moved->rows, moved->means, moved->squares, grad, width, *pace);                   \
    }

extern "C" {

FUNCTIONS(float, float32)
FUNCTIONS(double, float64)

// Of all functions here: raised where one comes, goes or takes something else.
Index edition() { return 2; }

}  // extern "C"
