// Sums over the entries of sparse codes, and the entries found: what stands around the one matrix
// product of a training step. Plain C functions over raw arrays, each over a range of rows, so that
// whoever calls them deals the ranges to threads of its own: no thread pool, no OpenMP, no Python
// and no torch in here. Every output belongs to one row, so that no sum depends on the ranges.

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "rows.hpp"

namespace {

constexpr Index BLOCK = 32;  // values that are passed over together

template <class T>
void bags(Index first, Index last, const Index* offsets, const Index* places, const Index* order,
          const T* weights, const T* table, Index width, bool add, T* out) {
    for (Index i = first; i < last; ++i) {
        T* row = out + i * width;
        if (!add) std::fill(row, row + width, T(0));
        const Index start = offsets[i];
        add_rows(row, table, places + start, order ? order + start : nullptr,
                 order ? weights : weights + start, offsets[i + 1] - start, width);
    }
}

template <class T>
void dots(Index first, Index last, const Index* starts, const Index* samples, const Index* order,
          const T* rows, const T* dictionary, Index width, T* out) {
    for (Index m = first; m < last; ++m) {
        const T* atom = dictionary + m * width;
        for (Index e = starts[m]; e < starts[m + 1]; ++e) {
            if (e + AHEAD < starts[m + 1]) FETCH(rows + samples[e + AHEAD] * width);
            out[order[e]] = dot(rows + samples[e] * width, atom, width);
        }
    }
}

template <class T>
struct Kept {
    T value;
    Index latent;
    // Larger values first; of equal ones the latent that comes first. Never NaN, which has no order.
    bool operator<(const Kept& other) const {
        return value > other.value || (value == other.value && latent < other.latent);
    }
};

// A block of values as a few vectors: compilers leave the loops over it scalar otherwise.
template <class T>
struct Vector {
    static constexpr Index LENGTH = 32 / sizeof(T);
    typedef T Values __attribute__((vector_size(32)));
};

template <class T>
INLINE void load(typename Vector<T>::Values& values, const T* from) {
    std::memcpy(&values, from, sizeof values);
}

template <class T>
INLINE T largest(const T* block) {
    typename Vector<T>::Values most, next;
    load<T>(most, block);
    for (Index j = Vector<T>::LENGTH; j < BLOCK; j += Vector<T>::LENGTH) {
        load<T>(next, block + j);
        most = next > most ? next : most;
    }
    T found = most[0];
    for (Index l = 1; l < Vector<T>::LENGTH; ++l) found = most[l] > found ? most[l] : found;
    return found;
}

// How many of a block are above the threshold, one (stride 0) or one a column (stride 1).
template <class T, Index STRIDE>
INLINE Index above_in(const T* block, const T* threshold) {
    typename Vector<T>::Values values, bar;
    for (Index l = 0; l < Vector<T>::LENGTH; ++l) bar[l] = threshold[l * STRIDE];
    load<T>(values, block);
    auto total = values > bar;
    for (Index j = Vector<T>::LENGTH; j < BLOCK; j += Vector<T>::LENGTH) {
        if (STRIDE) load<T>(bar, threshold + j);
        load<T>(values, block + j);
        total += values > bar;
    }
    Index found = 0;
    for (Index l = 0; l < Vector<T>::LENGTH; ++l) found -= total[l];
    return found;
}

// What is no number counts as the largest, as in torch: it is kept, and seen by whoever checks.
template <class T>
T number(T value) {
    return value == value ? value : std::numeric_limits<T>::infinity();
}

// The k largest of each row, latents ascending. The k-th largest of the blocks' maxima is a lower
// bound for the k-th largest value: all but k blocks, and the like, are not looked at again.
template <class T>
void top(Index first, Index last, const T* pre, Index width, Index k, Index* latents) {
    const Index n_blocks = width / BLOCK;
    std::vector<Kept<T>> kept;
    std::vector<T> maxima(static_cast<std::size_t>(n_blocks)), sorted;
    for (Index i = first; i < last; ++i) {
        const T* row = pre + i * width;
        kept.clear();
        T least = -std::numeric_limits<T>::infinity();
        for (Index b = 0; b < n_blocks; ++b) maxima[b] = number(largest(row + b * BLOCK));
        if (n_blocks >= k) {
            sorted = maxima;
            std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(),
                             std::greater<T>());
            least = sorted[k - 1];
        }
        for (Index b = 0; b < n_blocks; ++b)
            if (maxima[b] >= least)
                for (Index l = b * BLOCK; l < (b + 1) * BLOCK; ++l)
                    if (!(row[l] < least)) kept.push_back({number(row[l]), l});
        for (Index l = n_blocks * BLOCK; l < width; ++l)
            if (!(row[l] < least)) kept.push_back({number(row[l]), l});
        std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end());
        Index* mine = latents + i * k;
        for (Index e = 0; e < k; ++e) mine[e] = kept[e].latent;
        std::sort(mine, mine + k);
    }
}

// How many values of each row are above the threshold (one, or one a column), and the first `room`
// of their columns, while the row is at hand: it would have to come from memory again later.
template <class T>
void above(Index first, Index last, const T* pre, const T* threshold, Index stride, Index width,
           Index room, Index* counts, Index* columns) {
    for (Index i = first; i < last; ++i) {
        const T* row = pre + i * width;
        Index* mine = columns + i * room;
        Index found = 0;
        for (Index start = 0; start < width; start += BLOCK) {
            const Index end = std::min(start + BLOCK, width);
            if (end - start == BLOCK) {
                const Index here = stride ? above_in<T, 1>(row + start, threshold + start)
                                          : above_in<T, 0>(row + start, threshold);
                if (!here) continue;
                if (found + here > room) {
                    found += here;
                    continue;
                }
            }
            for (Index l = start; l < end; ++l)
                if (row[l] > threshold[l * stride]) {
                    if (found < room) mine[found] = l;
                    ++found;
                }
        }
        counts[i] = found;
    }
}

}  // namespace

#define FUNCTIONS(T, NAME)                                                                        \
    void bags_##NAME(Index first, Index last, const Index* offsets, const Index* places,          \
                     const Index* order, const T* weights, const T* table, Index width,           \
                     Index add, T* out) {                                                         \
        bags<T>(first, last, offsets, places, order, weights, table, width, add != 0, out);       \
    }                                                                                             \
    void dots_##NAME(Index first, Index last, const Index* starts, const Index* samples,          \
                     const Index* order, const T* rows, const T* dictionary, Index width,         \
                     T* out) {                                                                    \
        dots<T>(first, last, starts, samples, order, rows, dictionary, width, out);               \
    }                                                                                             \
    void top_##NAME(Index first, Index last, const T* pre, Index width, Index k,                  \
                    Index* latents) {                                                             \
        top<T>(first, last, pre, width, k, latents);                                              \
    }                                                                                             \
    void above_##NAME(Index first, Index last, const T* pre, const T* threshold, Index stride,    \
                      Index width, Index room, Index* counts, Index* columns) {                   \
        above<T>(first, last, pre, threshold, stride, width, room, counts, columns);              \
    }

extern "C" {

FUNCTIONS(float, float32)
FUNCTIONS(double, float64)

// The columns that `above` found, row after row without gaps, and of which row each is.
void close_gaps(Index first, Index last, Index room, const Index* columns, const Index* offsets,
                Index* samples, Index* latents) {
    for (Index i = first; i < last; ++i) {
        const Index n = offsets[i + 1] - offsets[i];
        std::copy(columns + i * room, columns + i * room + n, latents + offsets[i]);
        std::fill(samples + offsets[i], samples + offsets[i + 1], i);
    }
}

// Latent after latent, samples ascending: where each latent begins [M + 1], which entries stand
// there [n], and of which samples they are [n].
void by_latent(Index n, Index n_latents, const Index* samples, const Index* latents, Index* starts,
               Index* order, Index* sorted) {
    std::fill(starts, starts + n_latents + 1, Index(0));
    for (Index e = 0; e < n; ++e) ++starts[latents[e] + 1];
    for (Index m = 0; m < n_latents; ++m) starts[m + 1] += starts[m];
    std::vector<Index> next(starts, starts + n_latents);
    for (Index e = 0; e < n; ++e) {
        const Index at = next[static_cast<std::size_t>(latents[e])]++;
        order[at] = e;
        sorted[at] = samples[e];
    }
}

}  // extern "C"
