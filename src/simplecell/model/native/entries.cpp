// Sums over the entries of sparse codes, and the entries found: what stands around the one matrix
// product of a training step. Plain C functions over raw arrays, each over a range of rows, so that
// whoever calls them deals the ranges to threads of its own: no thread pool, no OpenMP, no Python
// and no torch in here. Every output belongs to one row, so that no sum depends on the ranges.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address)
#endif

using Index = std::int64_t;

namespace {

constexpr Index LANES = 16;  // partial sums of a dot product: fixed, whatever the processor
constexpr Index BLOCK = 64;  // values that are passed over together
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

template <class T>
T largest(const T* __restrict block) {
    T lanes[LANES];
    for (Index l = 0; l < LANES; ++l) lanes[l] = block[l];
    for (Index j = LANES; j < BLOCK; j += LANES)
        for (Index l = 0; l < LANES; ++l)
            lanes[l] = block[j + l] > lanes[l] ? block[j + l] : lanes[l];
    for (Index half = LANES / 2; half; half /= 2)
        for (Index l = 0; l < half; ++l)
            lanes[l] = lanes[l + half] > lanes[l] ? lanes[l + half] : lanes[l];
    return lanes[0];
}

// What is no number counts as the largest, as in torch: it is kept, and seen by whoever checks.
template <class T>
T number(T value) {
    return value == value ? value : std::numeric_limits<T>::infinity();
}

// The k largest of each row, latents ascending. A running threshold, the k-th largest so far, keeps
// nearly all of a row from being looked at more than once.
template <class T>
void top(Index first, Index last, const T* pre, Index width, Index k, Index* latents) {
    std::vector<Kept<T>> kept;
    const std::size_t room = static_cast<std::size_t>(3 * k + 16);
    kept.reserve(room + BLOCK);
    for (Index i = first; i < last; ++i) {
        const T* row = pre + i * width;
        kept.clear();
        T least = T(0);
        bool full = false;
        auto shrink = [&] {
            if (static_cast<Index>(kept.size()) < k) return;
            std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end());
            kept.resize(static_cast<std::size_t>(k));
            least = kept.back().value;
            full = true;
        };
        for (Index j = 0; j < width; j += BLOCK) {
            const Index end = std::min(j + BLOCK, width);
            if (full && end - j == BLOCK && !(largest(row + j) > least)) continue;
            for (Index l = j; l < end; ++l)
                if (!full || row[l] > least) kept.push_back({number(row[l]), l});
            if (kept.size() > room) shrink();
        }
        shrink();
        Index* mine = latents + i * k;
        for (Index e = 0; e < k; ++e) mine[e] = kept[static_cast<std::size_t>(e)].latent;
        std::sort(mine, mine + k);
    }
}

// How many values of each row are above the threshold (one, or one a column), and in which blocks.
template <class T>
void count_above(Index first, Index last, const T* pre, const T* threshold, Index stride,
                 Index width, Index* counts, std::uint8_t* blocks) {
    const Index n_blocks = (width + BLOCK - 1) / BLOCK;
    for (Index i = first; i < last; ++i) {
        const T* row = pre + i * width;
        Index found = 0;
        for (Index b = 0; b < n_blocks; ++b) {
            const Index start = b * BLOCK, n = std::min(BLOCK, width - start);
            std::int32_t here = 0;
            if (stride)
                for (Index l = 0; l < n; ++l) here += row[start + l] > threshold[start + l];
            else
                for (Index l = 0; l < n; ++l) here += row[start + l] > *threshold;
            blocks[i * n_blocks + b] = here > 0;
            found += here;
        }
        counts[i] = found;
    }
}

template <class T>
void find_above(Index first, Index last, const T* pre, const T* threshold, Index stride,
                Index width, const Index* offsets, const std::uint8_t* blocks, Index* samples,
                Index* latents) {
    const Index n_blocks = (width + BLOCK - 1) / BLOCK;
    for (Index i = first; i < last; ++i) {
        const T* row = pre + i * width;
        Index at = offsets[i];
        for (Index b = 0; b < n_blocks; ++b) {
            if (!blocks[i * n_blocks + b]) continue;
            const Index end = std::min((b + 1) * BLOCK, width);
            for (Index l = b * BLOCK; l < end; ++l)
                if (row[l] > threshold[l * stride]) samples[at] = i, latents[at++] = l;
        }
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
    void count_above_##NAME(Index first, Index last, const T* pre, const T* threshold,            \
                            Index stride, Index width, Index* counts, std::uint8_t* blocks) {     \
        count_above<T>(first, last, pre, threshold, stride, width, counts, blocks);               \
    }                                                                                             \
    void find_above_##NAME(Index first, Index last, const T* pre, const T* threshold,             \
                           Index stride, Index width, const Index* offsets,                       \
                           const std::uint8_t* blocks, Index* samples, Index* latents) {          \
        find_above<T>(first, last, pre, threshold, stride, width, offsets, blocks, samples,       \
                      latents);                                                                   \
    }

extern "C" {

FUNCTIONS(float, float32)
FUNCTIONS(double, float64)

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
