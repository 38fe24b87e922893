// The hot loops of training and answering, for matrices in compressed rows: see hyvae/nn/kernels.py, which calls them
// and says what each computes.  Plain C functions without torch's headers: they build in seconds, with any torch.
//
// A function `NAME_rows` computes a range of rows and is compiled for each level of the x86-64 instruction sets; the
// processor's best is chosen when the library is loaded.  Every row is computed by one thread, from left to right, so
// that results do not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

// HYVAE_ONE_LEVEL: tools/same_bits.py builds for the level that -march names, to test it on a better processor
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(HYVAE_ONE_LEVEL)
#define EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#else
#define EACH_PROCESSOR __attribute__((noinline))
#endif
#define INLINE static inline __attribute__((always_inline))
#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kLane = 64;        // bytes of a vector
constexpr int kAhead = 12;       // entries between a prefetch and its use: measured
// A table of more bytes than kLarge is read a tile at a time, to stay in the caches: as many rows as make kBlock bytes,
// or of wide rows kStrip bytes each and as many as make kTile. All measured.
constexpr int64_t kLarge = 12 << 20, kBlock = 4 << 20, kStrip = 2 << 10, kTile = 1 << 20;
constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
constexpr int64_t kVisit = 4;    // entries a row of the matrix must have in a tile, and
constexpr int64_t kReuse = 16;   // entries a row of the table must have, for that to bring more than it costs
constexpr int kChunks = 8;       // pieces of work a thread, so that none waits long for the last
constexpr int64_t kSmall = 1 << 15;  // multiplications below which waking a thread costs more than it brings

template <typename T>
struct Vector;
template <>
struct Vector<float> {
    typedef float type __attribute__((vector_size(kLane), aligned(4), may_alias));
    static constexpr int n = 16;
};
template <>
struct Vector<double> {
    typedef double type __attribute__((vector_size(kLane), aligned(8), may_alias));
    static constexpr int n = 8;
};

template <typename T>
INLINE const typename Vector<T>::type &load(const T *p) {
    return *reinterpret_cast<const typename Vector<T>::type *>(p);
}
template <typename T>
INLINE typename Vector<T>::type &at(T *p) {
    return *reinterpret_cast<typename Vector<T>::type *>(p);
}

// Row ranges of about equal numbers of entries, each on one thread.
template <typename F>
void over_rows(int64_t n_rows, const int64_t *crow, int64_t work_per_entry, int threads, F f) {
    const int64_t first = crow[0], total = crow[n_rows] - first;
    if (threads <= 1 || (total + n_rows) * work_per_entry < kSmall) {
        f(0, n_rows);
        return;
    }
    const int64_t chunks = std::min<int64_t>(n_rows, (int64_t)threads * kChunks);
    // a row without entries costs something too
    auto bound = [&](int64_t chunk) {
        const int64_t wanted = (total + n_rows) * chunk / chunks;
        int64_t low = 0, high = n_rows;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (crow[middle] - first + middle < wanted) low = middle + 1;
            else high = middle;
        }
        return low;
    };
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        f(bound(chunk), chunk + 1 == chunks ? n_rows : bound(chunk + 1));
    }
}

// Equal pieces of 0 .. n, each on one thread.
template <typename F>
void over_range(int64_t n, int64_t work, int threads, F f) {
    if (threads <= 1 || n * work < kSmall) {
        f(0, n);
        return;
    }
    const int64_t pieces = std::min<int64_t>(n, (int64_t)threads * kChunks);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t piece = 0; piece < pieces; ++piece) f(n * piece / pieces, n * (piece + 1) / pieces);
}

// A part of a table, of which the entries of a sparse matrix want rows: columns from .. to, of the rows below `limit`
// that no tile before had.
struct Tile {
    int64_t from, to, limit;
    bool first;  // of these columns
};

// f(a, b, tile, done) for the tiles of a table, by row ranges a .. b of the sparse matrix; `done` says how far each
// row's entries are used. Strip by strip of its rows' width, each a block of rows at a time, so that a row of the table
// comes from memory once for all its entries; all of it is one tile where it fits the caches or is not wanted often
// enough. Columns should ascend in each row of the matrix.
template <typename F>
void over_tiles(int64_t n_rows, int64_t n_cols, const int64_t *crow, int64_t width, int64_t bytes, int threads, F f) {
    const int64_t nnz = crow[n_rows] - crow[0], row = width * bytes;
    int64_t strip = width, blocks = 1;
    if (n_cols * row > kLarge && nnz >= kReuse * n_cols) {
        const bool wide = row > kStrip;
        if (wide) strip = kStrip / bytes;
        blocks = std::min(wide ? n_cols * kStrip / kTile : n_cols * row / kBlock, nnz / (kVisit * n_rows));
        blocks = std::max<int64_t>(1, blocks);
    }
    std::vector<int64_t> done(n_rows);
    int64_t from = 0;
    do {  // once where there is no width at all
        const int64_t to = std::min(from + strip, width);
        std::copy(crow, crow + n_rows, done.begin());
        for (int64_t block = 1; block <= blocks; ++block) {
            const Tile tile{from, to, block == blocks ? kAll : n_cols * block / blocks, block == 1};
            // all threads on one tile, so that each of them uses it for many rows
            over_rows(n_rows, crow, to - from, threads, [&](int64_t a, int64_t b) { f(a, b, tile, done.data()); });
        }
        from = to;
    } while (from < width);
}

// The first entry from `begin` on that is not in the tile.
INLINE int64_t leave(const Tile &tile, const int32_t *col, int64_t begin, int64_t end) {
    if (tile.limit == kAll) return end;
    while (begin < end && col[begin] < tile.limit) ++begin;
    return begin;
}

// ---- sparse times dense ----------------------------------------------------------------------------------------

template <bool PAIR, typename T>
INLINE void prefetch_values(int64_t place, const T *values, const T *values2) {
    __builtin_prefetch(values + place);
    if (PAIR) __builtin_prefetch(values2 + place);
}

// One strip of N vectors: out (+)= sum over entries of value * table row, for one or two pairs of values and tables.
template <typename T, int N, bool PAIR>
INLINE void multiply_strip(int64_t begin, int64_t end, const int32_t *col, const int32_t *order, const T *values,
                           const T *values2, const T *table, const T *table2, int64_t stride, bool add, T *out) {
    constexpr int n = Vector<T>::n;
    typename Vector<T>::type sum[N] = {};
    if (add) for (int k = 0; k < N; ++k) sum[k] = at(out + k * n);
    for (int64_t e = begin; e < end; ++e) {
        const int64_t ahead = (int64_t)col[std::min(e + kAhead, end - 1)] * stride;
        // every other line: the processor fetches its neighbour by itself
        for (int k = 0; k < N; k += 2) __builtin_prefetch(table + ahead + k * n);
        if (PAIR) for (int k = 0; k < N; k += 2) __builtin_prefetch(table2 + ahead + k * n);
        if (order) prefetch_values<PAIR>(order[std::min(e + kAhead, end - 1)], values, values2);
        const int64_t at_value = order ? order[e] : e;
        const T value = values[at_value];
        const T *row = table + (int64_t)col[e] * stride;
        if (PAIR) {
            const T value2 = values2[at_value];
            if (value2 == 0) continue;  // a rating that is not seen
            const T *row2 = table2 + (int64_t)col[e] * stride;
            for (int k = 0; k < N; ++k) sum[k] += value * load(row + k * n) + value2 * load(row2 + k * n);
        } else {
            for (int k = 0; k < N; ++k) sum[k] += value * load(row + k * n);
        }
    }
    for (int k = 0; k < N; ++k) at(out + k * n) = sum[k];
}

// Two values an entry, one table, two results.
template <typename T, int N>
INLINE void both_strip(int64_t begin, int64_t end, const int32_t *col, const int32_t *order, const T *values,
                       const T *values2, const T *table, int64_t stride, bool add, T *out, T *out2) {
    constexpr int n = Vector<T>::n;
    typename Vector<T>::type sum[N] = {}, sum2[N] = {};
    if (add) for (int k = 0; k < N; ++k) sum[k] = at(out + k * n), sum2[k] = at(out2 + k * n);
    for (int64_t e = begin; e < end; ++e) {
        const T *next = table + (int64_t)col[std::min(e + kAhead, end - 1)] * stride;
        for (int k = 0; k < N; k += 2) __builtin_prefetch(next + k * n);
        if (order) prefetch_values<true>(order[std::min(e + kAhead, end - 1)], values, values2);
        const int64_t at_value = order ? order[e] : e;
        const T value = values[at_value], value2 = values2[at_value];
        if (value2 == 0) continue;
        const T *row = table + (int64_t)col[e] * stride;
        for (int k = 0; k < N; ++k) {
            const auto x = load(row + k * n);
            sum[k] += value * x;
            sum2[k] += value2 * x;
        }
    }
    for (int k = 0; k < N; ++k) at(out + k * n) = sum[k], at(out2 + k * n) = sum2[k];
}

template <typename T>
struct Product {
    const int64_t *crow;
    const int32_t *col, *order;
    const T *values, *values2, *table, *table2;
    int64_t stride;  // of a table row
    T *out, *out2;
    int64_t out_stride;
};

// Some of a row's entries, for columns j .. to, onto what there is (`add`) or afresh.
template <typename T>
INLINE void product_row(const Product<T> &p, int64_t r, int64_t begin, int64_t end, int64_t j, int64_t to, bool add) {
    constexpr int n = Vector<T>::n;
    T *out = p.out + r * p.out_stride, *out2 = p.out2 ? p.out2 + r * p.out_stride : nullptr;
#define STRIPS(N)                                                                                                      \
    for (; j + N * n <= to; j += N * n) {                                                                              \
        if (p.out2) both_strip<T, N>(begin, end, p.col, p.order, p.values, p.values2, p.table + j, p.stride, add,      \
                                     out + j, out2 + j);                                                               \
        else if (p.values2)                                                                                            \
            multiply_strip<T, N, true>(begin, end, p.col, p.order, p.values, p.values2, p.table + j, p.table2 + j,     \
                                       p.stride, add, out + j);                                                        \
        else                                                                                                           \
            multiply_strip<T, N, false>(begin, end, p.col, p.order, p.values, nullptr, p.table + j, nullptr, p.stride, \
                                        add, out + j);                                                                 \
    }
    STRIPS(8)
    STRIPS(4)
    STRIPS(1)
#undef STRIPS
    for (; j < to; ++j) {  // what is left of a width that is no multiple of a vector
        T sum = add ? out[j] : 0, sum2 = add && p.out2 ? out2[j] : 0;
        for (int64_t e = begin; e < end; ++e) {
            const int64_t at_value = p.order ? p.order[e] : e, place = (int64_t)p.col[e] * p.stride + j;
            if (p.values2 && p.values2[at_value] == 0) continue;
            sum += p.values[at_value] * p.table[place];
            if (p.out2) sum2 += p.values2[at_value] * p.table[place];
            else if (p.values2) sum += p.values2[at_value] * p.table2[place];
        }
        out[j] = sum;
        if (p.out2) out2[j] = sum2;
    }
}

template <typename T>
INLINE void product_tile(const Product<T> &p, int64_t first, int64_t last, const Tile &tile, int64_t *done) {
    for (int64_t r = first; r < last; ++r) {
        const int64_t begin = done[r], end = leave(tile, p.col, begin, p.crow[r + 1]);
        if (end > begin || tile.first) product_row(p, r, begin, end, tile.from, tile.to, !tile.first);
        done[r] = end;
    }
}

EACH_PROCESSOR void product_tile_f32(const Product<float> &p, int64_t first, int64_t last, const Tile &tile,
                                     int64_t *done) {
    product_tile(p, first, last, tile, done);
}
EACH_PROCESSOR void product_tile_f64(const Product<double> &p, int64_t first, int64_t last, const Tile &tile,
                                     int64_t *done) {
    product_tile(p, first, last, tile, done);
}
EACH_PROCESSOR void product_row_f32(const Product<float> &p, int64_t r, int64_t from, int64_t to) {
    product_row(p, r, p.crow[r], p.crow[r + 1], from, to, false);
}

// ---- dense times dense, at some positions ------------------------------------------------------------------------

template <typename T>
INLINE T total(typename Vector<T>::type v) {
    T sum = 0;
    for (int k = 0; k < Vector<T>::n; ++k) sum += v[k];
    return sum;
}

// Inner products of a row with rows of the table, onto what there is (`add`) or afresh.
template <typename T>
INLINE void sample_row(int64_t e, int64_t end, const int32_t *col, const T *a, const T *right, int64_t stride,
                       int64_t width, bool add, T *out) {
    constexpr int n = Vector<T>::n, group = 4;
    const int64_t whole = width / n * n;
    for (; e + group <= end; e += group) {
        const T *b[group];
        for (int g = 0; g < group; ++g) {
            b[g] = right + (int64_t)col[e + g] * stride;
            const T *next = right + (int64_t)col[std::min(e + g + 2 * group, end - 1)] * stride;
            for (int64_t j = 0; j < std::min<int64_t>(width, 8 * n); j += 4 * n) __builtin_prefetch(next + j);
        }
        typename Vector<T>::type sum[group] = {};
        for (int64_t j = 0; j < whole; j += n) {
            const auto x = load(a + j);
            for (int g = 0; g < group; ++g) sum[g] += x * load(b[g] + j);
        }
        for (int g = 0; g < group; ++g) {
            T dot = total<T>(sum[g]);
            for (int64_t j = whole; j < width; ++j) dot += a[j] * b[g][j];
            out[e + g] = add ? out[e + g] + dot : dot;
        }
    }
    for (; e < end; ++e) {
        const T *b = right + (int64_t)col[e] * stride;
        typename Vector<T>::type sum = {};
        for (int64_t j = 0; j < whole; j += n) sum += load(a + j) * load(b + j);
        T dot = total<T>(sum);
        for (int64_t j = whole; j < width; ++j) dot += a[j] * b[j];
        out[e] = add ? out[e] + dot : dot;
    }
}

template <typename T>
struct Sample {
    const int64_t *crow;
    const int32_t *col;
    const T *left, *right;
    int64_t left_stride, right_stride;
    T *out;
};

template <typename T>
INLINE void sample_tile(const Sample<T> &x, int64_t first, int64_t last, const Tile &tile, int64_t *done) {
    for (int64_t r = first; r < last; ++r) {
        const int64_t begin = done[r], end = leave(tile, x.col, begin, x.crow[r + 1]);
        const T *left = x.left + r * x.left_stride + tile.from, *right = x.right + tile.from;
        sample_row(begin, end, x.col, left, right, x.right_stride, tile.to - tile.from, tile.from > 0, x.out);
        done[r] = end;
    }
}

EACH_PROCESSOR void sample_tile_f32(const Sample<float> &x, int64_t first, int64_t last, const Tile &tile,
                                    int64_t *done) {
    sample_tile(x, first, last, tile, done);
}
EACH_PROCESSOR void sample_tile_f64(const Sample<double> &x, int64_t first, int64_t last, const Tile &tile,
                                    int64_t *done) {
    sample_tile(x, first, last, tile, done);
}

// ---- ridge regressions -------------------------------------------------------------------------------------------

// Upper triangle of the sum of q q' over a row's codes q, in tiles of 4 rows by up to 4 vectors that stay in registers.
template <typename T>
INLINE void gram(int64_t begin, int64_t end, const int32_t *col, const T *table, int64_t stride, int64_t width,
                 T *sums) {
    constexpr int n = Vector<T>::n, high = 4, wide = 4;
    const int64_t whole = width / n * n;
    for (int64_t i = 0; i < width; i += high) {
        const int rows = (int)std::min<int64_t>(high, width - i);
        for (int64_t j = i / n * n; j < whole; j += wide * n) {
            const int vectors = (int)std::min<int64_t>(wide, (whole - j) / n);
            typename Vector<T>::type sum[high][wide] = {};
            if (rows == high && vectors == wide) {
                for (int64_t e = begin; e < end; ++e) {
                    const T *q = table + (int64_t)col[e] * stride;
                    for (int v = 0; v < wide; ++v) {
                        const auto x = load(q + j + v * n);
                        for (int r = 0; r < high; ++r) sum[r][v] += q[i + r] * x;
                    }
                }
            } else {
                for (int64_t e = begin; e < end; ++e) {
                    const T *q = table + (int64_t)col[e] * stride;
                    for (int v = 0; v < vectors; ++v) {
                        const auto x = load(q + j + v * n);
                        for (int r = 0; r < rows; ++r) sum[r][v] += q[i + r] * x;
                    }
                }
            }
            for (int r = 0; r < rows; ++r) {
                for (int v = 0; v < vectors; ++v) at(sums + (i + r) * width + j + v * n) = sum[r][v];
            }
        }
        for (int64_t j = whole; j < width; ++j) {
            for (int r = 0; r < rows; ++r) {
                T sum = 0;
                for (int64_t e = begin; e < end; ++e) {
                    const T *q = table + (int64_t)col[e] * stride;
                    sum += q[i + r] * q[j];
                }
                sums[(i + r) * width + j] = sum;
            }
        }
    }
}

// y -= a * x
template <typename T>
INLINE void subtract(int64_t n, T a, const T *x, T *y) {
    for (int64_t k = 0; k < n; ++k) y[k] -= a * x[k];
}

template <typename T>
INLINE T dot(int64_t n, const T *x, const T *y) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; ++k) sum += x[k] * y[k];
    return sum;
}

// The Cholesky factor U, A = U'U, of the symmetric matrix whose upper triangle is in A, in its place.  Where a pivot is no
// larger than its rounding errors may be, nothing is known of that unknown: it stays 0, by an infinite pivot.
template <typename T>
INLINE void factor(int64_t n, T *A) {
    T least = 0;
    for (int64_t k = 0; k < n; ++k) least = std::max(least, A[k * n + k]);
    least *= 4 * n * std::numeric_limits<T>::epsilon();
    for (int64_t k = 0; k < n; ++k) {
        T *row = A + k * n;
        if (!(row[k] > least)) {
            std::fill(row + k, A + (k + 1) * n, T(0));
            row[k] = std::numeric_limits<T>::infinity();
            continue;
        }
        const T scale = 1 / std::sqrt(row[k]);
        for (int64_t j = k; j < n; ++j) row[j] *= scale;
        for (int64_t i = k + 1; i < n; ++i) subtract(n - i, row[i], row + i, A + i * n + i);
    }
}

// x with U'U x = b, in the place of b.  With standard normal `noise` (or null), a draw from N(x, (U'U)^-1).
template <typename T>
INLINE void substitute(int64_t n, const T *U, T *b, const T *noise = nullptr) {
    for (int64_t k = 0; k < n; ++k) {
        b[k] /= U[k * n + k];
        subtract(n - k - 1, b[k], U + k * n + k + 1, b + k + 1);
    }
    if (noise) for (int64_t k = 0; k < n; ++k) b[k] += noise[k];
    for (int64_t k = n - 1; k >= 0; --k) {
        const T *row = U + k * n;
        T sum = b[k];
        for (int64_t j = k + 1; j < n; ++j) sum -= row[j] * b[j];
        b[k] = sum / row[k];
    }
}

template <typename T>
INLINE void ridge_rows(int64_t first, int64_t last, const int64_t *crow, const int32_t *col, const T *values,
                       const T *table, int64_t stride, int64_t width, T strength, T *out) {
    std::vector<T> sums(width * width);
    for (int64_t r = first; r < last; ++r) {
        const int64_t begin = crow[r], end = crow[r + 1];
        T *b = out + r * width;
        std::fill(b, b + width, T(0));
        if (begin == end) continue;
        gram(begin, end, col, table, stride, width, sums.data());
        for (int64_t k = 0; k < width; ++k) sums[k * width + k] += strength;
        for (int64_t e = begin; e < end; ++e) subtract(width, -values[e], table + (int64_t)col[e] * stride, b);
        factor(width, sums.data());
        substitute(width, sums.data(), b);
    }
}

EACH_PROCESSOR void ridge_rows_f32(int64_t first, int64_t last, const int64_t *crow, const int32_t *col,
                                   const float *values, const float *table, int64_t stride, int64_t width,
                                   float strength, float *out) {
    ridge_rows(first, last, crow, col, values, table, stride, width, strength, out);
}
EACH_PROCESSOR void ridge_rows_f64(int64_t first, int64_t last, const int64_t *crow, const int32_t *col,
                                   const double *values, const double *table, int64_t stride, int64_t width,
                                   double strength, double *out) {
    ridge_rows(first, last, crow, col, values, table, stride, width, strength, out);
}

// In double, as the strength may be small against many codes: codes H and values r less their means over the row's
// entries, (H'H + strength)^-1 H'r = H'(HH' + strength)^-1 r: of the two matrices, the smaller.
template <typename T>
INLINE void regression_rows(int64_t first, int64_t last, const int64_t *crow, const int32_t *col, const T *values,
                            const T *table, int64_t stride, int64_t width, double strength, bool intercept, T *out,
                            T *bias) {
    constexpr int n_lane = Vector<double>::n;
    int64_t longest = 0;
    for (int64_t r = first; r < last; ++r) longest = std::max(longest, crow[r + 1] - crow[r]);
    std::vector<int32_t> every(std::max(longest, width));
    for (size_t k = 0; k < every.size(); ++k) every[k] = (int32_t)k;
    const int64_t widest = width + n_lane;
    std::vector<double> H(std::max(longest, width) * widest), sums(widest * widest), mean(width), x(widest), w(width);
    for (int64_t row = first; row < last; ++row) {
        const int64_t begin = crow[row], n = crow[row + 1] - begin;
        std::fill(out + row * width, out + (row + 1) * width, T(0));
        bias[row] = 0;
        if (n == 0) continue;
        double mean_value = 0;
        std::fill(mean.begin(), mean.end(), 0.0);
        if (intercept) {
            for (int64_t e = begin; e < begin + n; ++e) {
                mean_value += values[e] / (double)n;
                const T *q = table + (int64_t)col[e] * stride;
                for (int64_t k = 0; k < width; ++k) mean[k] += q[k];
            }
            for (int64_t k = 0; k < width; ++k) mean[k] /= n;
        }
        // H, or its transpose where entries are few; unknowns that fill the last vector have zeros
        const bool few = n < width;
        const int64_t rows = few ? width : n, unknowns = few ? n : width;
        const int64_t size = (unknowns + n_lane - 1) / n_lane * n_lane;
        std::fill(H.begin(), H.begin() + rows * size, 0.0);
        std::fill(x.begin(), x.begin() + size, 0.0);
        for (int64_t e = 0; e < n; ++e) {
            const double residual = values[begin + e] - mean_value;
            const T *q = table + (int64_t)col[begin + e] * stride;
            if (few) {
                for (int64_t k = 0; k < width; ++k) H[k * size + e] = q[k] - mean[k];
                x[e] = residual;
            } else {
                double *h = H.data() + e * size;
                for (int64_t k = 0; k < width; ++k) h[k] = q[k] - mean[k];
                subtract(width, -residual, h, x.data());
            }
        }
        gram(0, rows, every.data(), H.data(), size, size, sums.data());
        for (int64_t k = 0; k < size; ++k) sums[k * size + k] += strength;
        factor(size, sums.data());
        substitute(size, sums.data(), x.data());
        for (int64_t k = 0; k < width; ++k) {
            w[k] = few ? dot(n, H.data() + k * size, x.data()) : x[k];
            out[row * width + k] = (T)w[k];
        }
        bias[row] = (T)(mean_value - dot(width, w.data(), mean.data()));
    }
}

EACH_PROCESSOR void regression_rows_f32(int64_t first, int64_t last, const int64_t *crow, const int32_t *col,
                                        const float *values, const float *table, int64_t stride, int64_t width,
                                        double strength, bool intercept, float *out, float *bias) {
    regression_rows(first, last, crow, col, values, table, stride, width, strength, intercept, out, bias);
}
EACH_PROCESSOR void regression_rows_f64(int64_t first, int64_t last, const int64_t *crow, const int32_t *col,
                                        const double *values, const double *table, int64_t stride, int64_t width,
                                        double strength, bool intercept, double *out, double *bias) {
    regression_rows(first, last, crow, col, values, table, stride, width, strength, intercept, out, bias);
}

// ---- draws of vectors from their posteriors -----------------------------------------------------------------------

// y += a * A x, for a symmetric A of which both triangles are there.
INLINE void add_product(int64_t n, const float *A, float a, const float *x, float *y) {
    for (int64_t i = 0; i < n; ++i) subtract(n, -a * x[i], A + i * n, y);
}

struct Prior {
    int64_t width;
    const float *precision, *mean;
};

// A vector x of each row whose entries are e = <x - x_before, q> + standard normal noise, q the row of
// `table` that an entry's column names.  Leaves what the drawing of other parts of the rows' vectors needs: the row's
// sum of q q' in `grams`, and of what x leaves of e, times q, in `moments`.
EACH_PROCESSOR void draw_rows_f32(int64_t first, int64_t last, const int64_t *crow, const int32_t *col,
                                  const float *values, const float *table, const Prior &prior,
                                  const float *noise, float *vectors, float *grams, float *moments) {
    const int64_t width = prior.width;
    std::vector<float> A(width * width), b(width);
    for (int64_t r = first; r < last; ++r) {
        float *x = vectors + r * width, *G = grams + r * width * width, *h = moments + r * width;
        gram(crow[r], crow[r + 1], col, table, width, width, G);
        std::fill(h, h + width, 0.0f);
        for (int64_t e = crow[r]; e < crow[r + 1]; ++e) subtract(width, -values[e], table + (int64_t)col[e] * width, h);
        for (int64_t i = 0; i < width; ++i) {
            for (int64_t j = i; j < width; ++j) G[j * width + i] = G[i * width + j];
        }
        std::copy(G, G + width * width, A.begin());
        std::copy(h, h + width, b.begin());
        add_product(width, G, 1.0f, x, b.data());
        for (int64_t k = 0; k < width; ++k) {
            A[k * width + k] += prior.precision[k];
            b[k] += prior.precision[k] * prior.mean[k];
        }
        factor(width, A.data());
        substitute(width, A.data(), b.data(), noise + r * width);
        for (int64_t k = 0; k < width; ++k) std::swap(x[k], b[k]);  // b: x before
        for (int64_t k = 0; k < width; ++k) b[k] = x[k] - b[k];
        add_product(width, G, -1.0f, b.data(), h);
    }
}

// Moments of some rows, after the part that a row of a table has in their vectors has moved by `change`.
EACH_PROCESSOR void move_moments(int64_t first, int64_t last, const int32_t *rows, const float *weights,
                                 const float *grams, int64_t width, const float *change, float *moments) {
    for (int64_t e = first; e < last; ++e) {
        const int64_t r = rows[e];
        add_product(width, grams + r * width * width, -weights[r], change, moments + r * width);
    }
}

// The right-hand side and the precision matrix of one row of a table.
EACH_PROCESSOR void table_row_posterior(int64_t begin, int64_t end, const int32_t *rows, const float *weights,
                                        const float *moments, const float *gram, const Prior &prior, const float *x,
                                        float *A, float *b) {
    const int64_t width = prior.width;
    std::copy(gram, gram + width * width, A);
    for (int64_t k = 0; k < width; ++k) b[k] = prior.precision[k] * prior.mean[k];
    for (int64_t e = begin; e < end; ++e) subtract(width, -weights[rows[e]], moments + (int64_t)rows[e] * width, b);
    add_product(width, gram, 1.0f, x, b);
    for (int64_t k = 0; k < width; ++k) A[k * width + k] += prior.precision[k];
}

EACH_PROCESSOR void draw_f32(int64_t n, float *A, float *b, const float *noise) {
    factor(n, A);
    substitute(n, A, b, noise);
}

// Vectors x of rows in several draws, for the ordered levels of their entries: EM with the noise of <x, q> + offset as
// what is unknown, from the prior's mean on, `steps` times.  The prior's variance is 1/precision, and `spread` times what
// is `missing` of a row.  A draw's vectors of the other side are `width` columns of
// `table`, the last of them the offset.  `noise`: of each draw and level, the expected noise by its values at equal steps
// of the score from the draw's `low` on, linear between and beyond.  Cases are rows of the first draw, of the second, …
struct Answers {
    int64_t n_rows, samples, width, n_levels, cells, stride;  // the table's
    const int64_t *crow;
    const int32_t *col;
    const int64_t *level;
    const float *table, *noise, *low, *per_step, *precision, *spread, *missing;
    float *vectors;
};
EACH_PROCESSOR void probit_rows_f32(const Answers &x, int64_t first, int64_t last, int64_t steps) {
    const int64_t width = x.width, stride = x.samples * width;
    std::vector<float> A(width * width), b(width), prior(width), precision(width), rows, scaled, offsets, inner(width);
    std::vector<int32_t> own;
    for (int64_t number = first; number < last; ++number) {
        const int64_t s = number / x.n_rows, r = number % x.n_rows, begin = x.crow[r], n = x.crow[r + 1] - begin;
        if (!n) continue;
        for (int64_t k = 0; k < width; ++k) {
            const float own = x.precision[s * width + k];
            precision[k] = own / (1.0f + own * x.spread[s * width + k] * x.missing[r]);
        }
        const float *noise = x.noise + s * x.n_levels * (x.cells + 1);
        const float low = x.low[s], per_step = x.per_step[s];
        float *vector = x.vectors + r * stride + s * width;
        std::copy(vector, vector + width, prior.begin());
        rows.resize(n * width);
        offsets.resize(n);
        for (int64_t e = own.size(); e < n; ++e) own.push_back((int32_t)e);
        for (int64_t e = 0; e < n; ++e) {
            const float *q = x.table + (int64_t)x.col[begin + e] * x.stride + s * width;
            std::copy(q, q + width, rows.begin() + e * width);
            offsets[e] = q[width - 1];
            rows[e * width + width - 1] = 1.0f;
        }
        // (D + Q'Q) step = b; of fewer entries than unknowns by the entries' own equations: with P = 1/D,
        // step = P b - P Q' (1 + Q P Q')^-1 Q P b
        const bool few = n < width;
        if (few) {
            scaled.resize(n * width);
            for (int64_t e = 0; e < n; ++e) {
                for (int64_t k = 0; k < width; ++k) scaled[e * width + k] = rows[e * width + k] / precision[k];
            }
            for (int64_t e = 0; e < n; ++e) {
                for (int64_t f = e; f < n; ++f) A[e * n + f] = dot(width, &rows[e * width], &scaled[f * width]);
                A[e * n + e] += 1.0f;
            }
        } else {
            gram(0, n, own.data(), rows.data(), width, width, A.data());
            for (int64_t k = 0; k < width; ++k) A[k * width + k] += precision[k];
        }
        factor(few ? n : width, A.data());
        for (int64_t step = 0; step < steps; ++step) {
            for (int64_t k = 0; k < width; ++k) b[k] = precision[k] * (prior[k] - vector[k]);
            for (int64_t e = 0; e < n; ++e) {
                const float *q = rows.data() + e * width;
                const float place = (offsets[e] + dot(width, vector, q) - low) * per_step;
                const int64_t cell = (int64_t)std::min(std::max(0.0f, place), (float)(x.cells - 1));
                const float *value = noise + x.level[begin + e] * (x.cells + 1) + cell;
                subtract(width, -(value[0] + (place - (float)cell) * (value[1] - value[0])), q, b.data());
            }
            if (few) {
                for (int64_t k = 0; k < width; ++k) b[k] /= precision[k];
                for (int64_t e = 0; e < n; ++e) inner[e] = dot(width, &rows[e * width], b.data());
                substitute(n, A.data(), inner.data());
                for (int64_t e = 0; e < n; ++e) subtract(width, inner[e], &scaled[e * width], b.data());
            } else {
                substitute(width, A.data(), b.data());
            }
            for (int64_t k = 0; k < width; ++k) vector[k] += b[k];
        }
    }
}

// out += f(x), for a function by its values at equal steps from `low` on, linear between and constant beyond.
EACH_PROCESSOR void interpolate_range(int64_t first, int64_t last, const float *x, float low, float per_step,
                                      int64_t cells, const float *values, float *out) {
    const float most = (float)cells - 0.5f;
    for (int64_t i = first; i < last; ++i) {
        // in this order, what is not a number is 0
        const float place = std::min(std::max(0.0f, (x[i] - low) * per_step), (float)cells);
        const int32_t cell = (int32_t)std::min(place, most);
        out[i] += values[cell] + (place - (float)cell) * (values[cell + 1] - values[cell]);
    }
}

// Mean over draws of f_s(<u_s, q_s> + both offsets), for people u and items q: products and curves in one pass, since
// the scores of all draws are far more than the caches hold.  People stand in the lanes of a vector, L of them: `codes`
// holds them as (samples, width, L).  f_s as in `interpolate_range`, a cell's value and slope side by side.
struct Cell {
    float value, slope;
};
struct Means {
    int64_t samples, width, cells, stride;  // the items'
    const float *codes, *items, *low, *per_step;
    const Cell *curves;
};
constexpr int kSums = 8;    // items whose sums are in registers
constexpr int kItems = 16;  // items that a draw's codes and curve share the first cache with: measured

template <int L>
INLINE void mean_levels(const Means &x, int64_t first, int64_t last, int people, int64_t n_items, float *out) {
    typedef float Lanes __attribute__((vector_size(L * sizeof(float)), aligned(4), may_alias));
    constexpr int n = kSums * L;
    const int64_t offset = x.width - 1;
    const float end = (float)x.cells, most = end - 0.5f;
    float total[kItems * L], score[n], beyond[n];
    int32_t cell[n];
    Cell found[n];
    for (int64_t tile = first; tile < last; tile += kItems) {
        const int64_t sums = (std::min<int64_t>(kItems, last - tile) + kSums - 1) / kSums;
        std::fill(total, total + sums * n, 0.0f);
        for (int64_t s = 0; s < x.samples; ++s) {
            const Lanes *code = reinterpret_cast<const Lanes *>(x.codes + s * x.width * L);
            const Cell *curve = x.curves + s * x.cells;
            const float low = x.low[s], per_step = x.per_step[s];
            for (int64_t part = 0; part < sums; ++part) {
                const float *row[kSums];
                for (int i = 0; i < kSums; ++i) {
                    // beyond the last, the last again
                    row[i] = x.items + std::min(tile + part * kSums + i, last - 1) * x.stride + s * x.width;
                    // of the draw after the next: measured
                    for (int64_t k = 0; k < x.width; k += 16) __builtin_prefetch(row[i] + 2 * x.width + k);
                }
                Lanes sum[kSums];
                for (int i = 0; i < kSums; ++i) sum[i] = code[offset] + row[i][offset];
                for (int64_t k = 0; k < offset; ++k) {
                    for (int i = 0; i < kSums; ++i) sum[i] += code[k] * row[i][k];
                }
                std::memcpy(score, sum, sizeof(score));
                for (int i = 0; i < n; ++i) {
                    const float place = std::min(std::max(0.0f, (score[i] - low) * per_step), end);
                    cell[i] = (int32_t)std::min(place, most);
                    beyond[i] = place - (float)cell[i];
                }
                for (int i = 0; i < n; ++i) found[i] = curve[cell[i]];
                float *of_part = total + part * n;
                for (int i = 0; i < n; ++i) of_part[i] += found[i].value + beyond[i] * found[i].slope;
            }
        }
        for (int64_t i = 0; i < std::min<int64_t>(kItems, last - tile); ++i) {
            for (int p = 0; p < people; ++p) out[p * n_items + tile + i] = total[i * L + p] / (float)x.samples;
        }
    }
}
EACH_PROCESSOR void mean_levels_of_4(const Means &x, int64_t first, int64_t last, int people, int64_t n, float *out) {
    mean_levels<4>(x, first, last, people, n, out);
}
EACH_PROCESSOR void mean_levels_of_16(const Means &x, int64_t first, int64_t last, int people, int64_t n, float *out) {
    mean_levels<16>(x, first, last, people, n, out);
}

// ---- effects -----------------------------------------------------------------------------------------------------

// x_e = value_e - mean - row effect - column effect
template <typename T>
struct Residual {
    const int64_t *crow;
    const int32_t *col;
    const T *values, *weights, *row_effect, *col_effect;
    T mean;
};

template <typename T>
INLINE T residual_at(const Residual<T> &x, int64_t e, T offset) {
    return x.values[e] - offset - (x.col_effect ? x.col_effect[x.col[e]] : T(0));
}

template <typename T>
INLINE void residual_rows(const Residual<T> &x, int64_t first, int64_t last, T *out) {
    for (int64_t r = first; r < last; ++r) {
        const T offset = x.mean + (x.row_effect ? x.row_effect[r] : T(0));
        for (int64_t e = x.crow[r]; e < x.crow[r + 1]; ++e) {
            out[e] = residual_at(x, e, offset) * (x.weights ? x.weights[e] : T(1));
        }
    }
}
EACH_PROCESSOR void residual_rows_f32(const Residual<float> &x, int64_t first, int64_t last, float *out) {
    residual_rows(x, first, last, out);
}

// Sums in double: a popular item has a hundred thousand ratings.
EACH_PROCESSOR void sum_rows_f32(const Residual<float> &x, int64_t first, int64_t last, float *out) {
    for (int64_t r = first; r < last; ++r) {
        const float offset = x.mean + (x.row_effect ? x.row_effect[r] : 0.0f);
        double sum = 0;
        for (int64_t e = x.crow[r]; e < x.crow[r + 1]; ++e) {
            sum += residual_at(x, e, offset) * (x.weights ? x.weights[e] : 1.0f);
        }
        out[r] = (float)sum;
    }
}
EACH_PROCESSOR void sum_columns_f32(const Residual<float> &x, int64_t first, int64_t last, double *sums) {
    for (int64_t r = first; r < last; ++r) {
        const float offset = x.mean + (x.row_effect ? x.row_effect[r] : 0.0f);
        for (int64_t e = x.crow[r]; e < x.crow[r + 1]; ++e) {
            sums[x.col[e]] += residual_at(x, e, offset) * (x.weights ? x.weights[e] : 1.0f);
        }
    }
}

// ---- random numbers that are a function of a counter ---------------------------------------------------------------

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ull;

INLINE uint64_t mixed(uint64_t x) {  // SplitMix64 (Steele et al. 2014)
    x += kGolden;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// 0 where the 53 low bits of the hash of (key + i) are below the bound, else 1
EACH_PROCESSOR void visible_range(int64_t first, int64_t last, const int64_t *keys, uint64_t key, uint64_t bound,
                                  float *out) {
    for (int64_t i = first; i < last; ++i) {
        out[i] = (mixed((uint64_t)keys[i] + key) & ((1ull << 53) - 1)) < bound ? 0.0f : 1.0f;
    }
}

// 32 bits of the counter i under a key of 64: the multiplications of MurmurHash3's finaliser, which vectorise.
INLINE uint32_t hashed(uint32_t i, uint64_t key) {
    uint32_t x = i * 0x9E3779B1u + (uint32_t)key;
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13) ^ (uint32_t)(key >> 32)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

// x scaled where the hash of its place is at or above the bound, else 0
EACH_PROCESSOR void dropout_range(int64_t first, int64_t last, uint64_t key, uint32_t bound, float scale,
                                  const float *x, float *out) {
    for (int64_t i = first; i < last; ++i) out[i] = hashed((uint32_t)i, key) < bound ? 0.0f : x[i] * scale;
}

INLINE float as_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
INLINE uint32_t as_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The three functions below are polynomials without branches, so that compilers make vectors of them; the coefficients
// are those of the Cephes library, with relative errors near 1e-7.
INLINE float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float shift = 12582912.0f;  // adding it rounds to an integer
    const float k = (x * 1.44269504088896341f + shift) - shift;
    const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * as_float((uint32_t)((int32_t)k + 127) << 23);
}

INLINE float logarithm(float x) {  // of normal positive numbers
    const uint32_t bits = as_bits(x);
    int32_t exponent = (int32_t)(bits >> 23) - 126;
    float m = as_float((bits & 0x007FFFFFu) | 0x3F000000u);  // in [0.5, 1)
    const bool small = m < 0.707106781186547524f;
    exponent -= small;
    m = (small ? m + m : m) - 1.0f;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float square = m * m, e = (float)exponent;
    return m + (p * m * square - 2.12194440e-4f * e - 0.5f * square) + 0.693359375f * e;
}

INLINE void sine_and_cosine(float turns, float &sine, float &cosine) {  // of 2 pi times -0.5 .. 0.5
    const float shift = 12582912.0f;
    const float k = (turns * 4.0f + shift) - shift;
    const float x = (turns - k * 0.25f) * 6.283185307179586f, square = x * x;
    const float s = ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square - 1.6666654611e-1f) * square * x + x;
    const float c = ((2.443315711809948e-5f * square - 1.388731625493765e-3f) * square + 4.166664568298827e-2f) *
                        square * square - 0.5f * square + 1.0f;
    const int32_t quarter = (int32_t)k & 3;
    const float a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
    sine = quarter & 2 ? -a : a;
    cosine = (quarter + 1) & 2 ? -b : b;
}

// Standard normal numbers, two from two hashes (Box & Muller 1958): those of place i stand at i and at half + i.
EACH_PROCESSOR void normal_range(int64_t first, int64_t last, int64_t half, uint64_t key, uint64_t other_key,
                                 float *out) {
    for (int64_t i = first; i < last; ++i) {
        const float uniform = ((float)(hashed((uint32_t)i, key) >> 8) + 0.5f) * (1.0f / 16777216.0f);
        const float turns = (float)(hashed((uint32_t)i, other_key) >> 8) * (1.0f / 16777216.0f) - 0.5f;
        float sine, cosine;
        sine_and_cosine(turns, sine, cosine);
        const float radius = std::sqrt(-2.0f * logarithm(uniform));
        out[i] = radius * cosine;
        out[half + i] = radius * sine;
    }
}

// ---- Gaussian latents ----------------------------------------------------------------------------------------------

EACH_PROCESSOR void sample_range(int64_t first, int64_t last, const float *mean, const float *log_variance,
                                 const float *noise, float *z) {
    for (int64_t i = first; i < last; ++i) z[i] = mean[i] + exponential(0.5f * log_variance[i]) * noise[i];
}

EACH_PROCESSOR double kl_range(int64_t first, int64_t last, const float *mean, const float *log_variance) {
    float sum = 0;
    // lanes apart, so that the sum makes vectors
    float lanes[16] = {};
    int64_t i = first;
    for (; i + 16 <= last; i += 16) {
        for (int k = 0; k < 16; ++k) {
            const float m = mean[i + k], v = log_variance[i + k];
            lanes[k] += exponential(v) + m * m - 1.0f - v;
        }
    }
    for (; i < last; ++i) sum += exponential(log_variance[i]) + mean[i] * mean[i] - 1.0f - log_variance[i];
    for (int k = 0; k < 16; ++k) sum += lanes[k];
    return 0.5 * sum;
}

EACH_PROCESSOR void kl_gradient_range(int64_t first, int64_t last, float weight, const float *mean,
                                      const float *log_variance, float *to_mean, float *to_log_variance) {
    for (int64_t i = first; i < last; ++i) {
        to_mean[i] = weight * mean[i];
        to_log_variance[i] = 0.5f * weight * (exponential(log_variance[i]) - 1.0f);
    }
}

// ---- optimiser -----------------------------------------------------------------------------------------------------

EACH_PROCESSOR void rmsprop_row(int64_t width, const float *gradient, float *weight, float *square, float decay,
                                float alpha, float rate, float epsilon, float penalty) {
    for (int64_t j = 0; j < width; ++j) {
        const float g = gradient[j] + penalty * weight[j];
        square[j] = square[j] * decay + (1.0f - alpha) * g * g;
        weight[j] -= rate * g / (std::sqrt(square[j]) + epsilon);
    }
}

EACH_PROCESSOR void adam_range(int64_t first, int64_t last, const float *gradient, float *weight, float *mean,
                               float *square, float beta1, float beta2, float rate, float correction, float epsilon,
                               float penalty) {
    for (int64_t i = first; i < last; ++i) {
        const float g = gradient[i] + penalty * weight[i];
        mean[i] += (1.0f - beta1) * (g - mean[i]);
        square[i] = beta2 * square[i] + (1.0f - beta2) * g * g;
        weight[i] -= rate * mean[i] / (std::sqrt(square[i]) * correction + epsilon);
    }
}

// ---- sums over all folds but one -----------------------------------------------------------------------------------

// For each fold the sum over the others: those before it from the front, those after it from the back.
template <typename T>
INLINE void others_range(int64_t first, int64_t last, int64_t folds, int64_t width, const T *x, T *out) {
    std::vector<T> sum(width);
    for (int64_t group = first; group < last; ++group) {
        const T *in = x + group * folds * width;
        T *to = out + group * folds * width;
        std::fill(sum.begin(), sum.end(), T(0));
        for (int64_t f = 0; f < folds; ++f) {
            for (int64_t j = 0; j < width; ++j) to[f * width + j] = sum[j], sum[j] += in[f * width + j];
        }
        std::fill(sum.begin(), sum.end(), T(0));
        for (int64_t f = folds - 1; f >= 0; --f) {
            for (int64_t j = 0; j < width; ++j) to[f * width + j] += sum[j], sum[j] += in[f * width + j];
        }
    }
}
EACH_PROCESSOR void others_range_f32(int64_t first, int64_t last, int64_t folds, int64_t width, const float *x,
                                     float *out) {
    others_range(first, last, folds, width, x, out);
}
EACH_PROCESSOR void others_range_f64(int64_t first, int64_t last, int64_t folds, int64_t width, const double *x,
                                     double *out) {
    others_range(first, last, folds, width, x, out);
}

// ---- the best k ----------------------------------------------------------------------------------------------------

// Marks in `found` where a row's scores reach a bound; gives their number.
EACH_PROCESSOR int64_t above(const float *scores, int64_t n, float bound, int32_t *found) {
    int64_t count = 0;
    for (int64_t block = 0; block < n; block += 64) {
        const int64_t end = std::min(block + 64, n);
        int any = 0;
        for (int64_t j = block; j < end; ++j) any |= scores[j] > bound;
        if (!any) continue;
        for (int64_t j = block; j < end; ++j) {
            found[count] = (int32_t)j;
            count += scores[j] > bound;
        }
    }
    return count;
}

}  // namespace

// of the arguments below: that of kernels.py must be the same
EXPORT int hyvae_version() { return 7; }

// ---- what Python calls ---------------------------------------------------------------------------------------------

#define PRODUCT(NAME, T)                                                                                               \
    EXPORT void NAME(int64_t n_rows, int64_t n_cols, const int64_t *crow, const int32_t *col, const int32_t *order,    \
                     const T *values, const T *values2, const T *table, const T *table2, int64_t width,                \
                     int64_t stride, T *out, T *out2, int64_t out_stride, int threads) {                               \
        const Product<T> p{crow, col, order, values, values2, table, table2, stride, out, out2, out_stride};           \
        const int64_t bytes = (table2 ? 2 : 1) * (int64_t)sizeof(T);                                                   \
        over_tiles(n_rows, n_cols, crow, width, bytes, threads,                                                        \
                   [&](int64_t a, int64_t b, const Tile &tile, int64_t *done) {                                        \
                       product_tile_##T(p, a, b, tile, done);                                                          \
                   });                                                                                                 \
    }
#define product_tile_float product_tile_f32
#define product_tile_double product_tile_f64
PRODUCT(hyvae_product_f32, float)
PRODUCT(hyvae_product_f64, double)

#define SAMPLE(NAME, T)                                                                                                \
    EXPORT void NAME(int64_t n_rows, int64_t n_cols, const int64_t *crow, const int32_t *col, const T *left,           \
                     int64_t left_stride, const T *right, int64_t right_stride, int64_t width, T *out, int threads) {  \
        const Sample<T> x{crow, col, left, right, left_stride, right_stride, out};                                     \
        over_tiles(n_rows, n_cols, crow, width, sizeof(T), threads,                                                    \
                   [&](int64_t a, int64_t b, const Tile &tile, int64_t *done) {                                        \
                       sample_tile_##T(x, a, b, tile, done);                                                           \
                   });                                                                                                 \
    }
#define sample_tile_float sample_tile_f32
#define sample_tile_double sample_tile_f64
SAMPLE(hyvae_sample_f32, float)
SAMPLE(hyvae_sample_f64, double)

#define RIDGE(NAME, T)                                                                                                 \
    EXPORT void NAME(int64_t n_rows, const int64_t *crow, const int32_t *col, const T *values, const T *table,         \
                     int64_t stride, int64_t width, double strength, T *out, int threads) {                            \
        over_rows(n_rows, crow, width * width, threads, [&](int64_t a, int64_t b) {                                    \
            ridge_rows_##T(a, b, crow, col, values, table, stride, width, (T)strength, out);                           \
        });                                                                                                            \
    }
#define ridge_rows_float ridge_rows_f32
#define ridge_rows_double ridge_rows_f64
RIDGE(hyvae_ridge_f32, float)
RIDGE(hyvae_ridge_f64, double)

#define REGRESSIONS(NAME, T)                                                                                           \
    EXPORT void NAME(int64_t n_rows, const int64_t *crow, const int32_t *col, const T *values, const T *table,         \
                     int64_t stride, int64_t width, double strength, int64_t intercept, T *out, T *bias,               \
                     int threads) {                                                                                    \
        over_rows(n_rows, crow, width * width, threads, [&](int64_t a, int64_t b) {                                    \
            regression_rows_##T(a, b, crow, col, values, table, stride, width, strength, intercept != 0, out, bias);   \
        });                                                                                                            \
    }
#define regression_rows_float regression_rows_f32
#define regression_rows_double regression_rows_f64
REGRESSIONS(hyvae_regressions_f32, float)
REGRESSIONS(hyvae_regressions_f64, double)

EXPORT void hyvae_draw_rows(int64_t n_rows, const int64_t *crow, const int32_t *col, const float *values,
                            const float *table, int64_t width, const float *precision,
                            const float *mean, const float *noise, float *vectors, float *grams, float *moments,
                            int threads) {
    const Prior prior{width, precision, mean};
    over_rows(n_rows, crow, width * width, threads, [&](int64_t a, int64_t b) {
        draw_rows_f32(a, b, crow, col, values, table, prior, noise, vectors, grams, moments);
    });
}

// Rows of a table one after the other, each from its posterior given all others: row j has a part, times the row's
// weight, in the vectors of the rows that are the entries of its compressed row.  `sums` (n, width, width): the grams
// of these rows, times their weights' squares, added up.
EXPORT void hyvae_draw_table(int64_t n, const int64_t *crow, const int32_t *rows, const float *weights,
                             const float *grams, const float *sums, int64_t width, const float *precision,
                             const float *mean, const float *noise, float *table, float *moments, int threads) {
    const Prior prior{width, precision, mean};
    std::vector<float> A(width * width), b(width);
    for (int64_t j = 0; j < n; ++j) {
        const int64_t begin = crow[j], end = crow[j + 1];
        float *x = table + j * width;
        table_row_posterior(begin, end, rows, weights, moments, sums + j * width * width, prior, x, A.data(), b.data());
        draw_f32(width, A.data(), b.data(), noise + j * width);
        for (int64_t k = 0; k < width; ++k) std::swap(x[k], b[k]);
        for (int64_t k = 0; k < width; ++k) b[k] = x[k] - b[k];
        over_range(end - begin, width * width, threads, [&](int64_t first, int64_t last) {
            move_moments(begin + first, begin + last, rows, weights, grams, width, b.data(), moments);
        });
    }
}

EXPORT void hyvae_probit_rows(int64_t n_rows, int64_t samples, const int64_t *crow, const int32_t *col,
                              const int64_t *level, int64_t n_levels, const float *table, int64_t stride,
                              int64_t width, const float *noise, int64_t cells, const float *low, const float *per_step,
                              const float *precision, const float *spread, const float *missing, int64_t steps,
                              float *vectors, int threads) {
    const Answers x{n_rows, samples, width, n_levels, cells,     stride, crow,    col,
                    level,  table,   noise, low,      per_step, precision, spread, missing, vectors};
    const int64_t work = n_rows ? (crow[n_rows] - crow[0]) / n_rows * width * width : 0;
    over_range(n_rows * samples, work, threads, [&](int64_t a, int64_t b) { probit_rows_f32(x, a, b, steps); });
}

EXPORT void hyvae_interpolate(int64_t n, const float *x, float low, float per_step, int64_t cells,
                              const float *values, float *out, int threads) {
    over_range(n, 4, threads, [&](int64_t a, int64_t b) {
        interpolate_range(a, b, x, low, per_step, cells, values, out);
    });
}

EXPORT void hyvae_mean_levels(int64_t n_people, int64_t n_items, int64_t samples, int64_t width, const float *codes,
                              int64_t codes_stride, const float *items, int64_t stride, const float *low,
                              const float *per_step, int64_t cells, const float *expected, float *out, int threads) {
    std::vector<float> lanes(samples * width * 16);
    std::vector<Cell> curves(samples * cells);
    for (int64_t s = 0; s < samples; ++s) {
        const float *values = expected + s * (cells + 1);
        for (int64_t c = 0; c < cells; ++c) curves[s * cells + c] = {values[c], values[c + 1] - values[c]};
    }
    for (int64_t person = 0; person < n_people;) {
        const int people = (int)std::min<int64_t>(n_people - person, 16), n = people > 4 ? 16 : 4;
        for (int64_t k = 0; k < samples * width; ++k) {
            for (int p = 0; p < n; ++p) {
                lanes[k * n + p] = codes[(person + std::min(p, people - 1)) * codes_stride + k];
            }
        }
        const Means x{samples, width, cells, stride, lanes.data(), items, low, per_step, curves.data()};
        const auto f = n == 16 ? mean_levels_of_16 : mean_levels_of_4;
        over_range(n_items, samples * width * n, threads, [&](int64_t first, int64_t last) {
            f(x, first, last, people, n_items, out + person * n_items);
        });
        person += people;
    }
}

// Entries in the order of columns.  With `touched`, only columns that have entries get a row; gives their number.
EXPORT int64_t hyvae_transpose(int64_t n_rows, int64_t n_cols, const int64_t *crow, const int32_t *col,
                               int64_t *crow_t, int32_t *col_t, int32_t *order, int32_t *touched) {
    std::vector<int64_t> place(n_cols, 0);
    const int64_t nnz = crow[n_rows];
    for (int64_t e = 0; e < nnz; ++e) ++place[col[e]];
    int64_t start = 0, row = 0;
    crow_t[0] = 0;
    for (int64_t c = 0; c < n_cols; ++c) {
        const int64_t count = place[c];
        place[c] = start;
        start += count;
        if (touched && !count) continue;
        if (touched) touched[row] = (int32_t)c;
        crow_t[++row] = start;
    }
    for (int64_t r = 0; r < n_rows; ++r) {
        for (int64_t e = crow[r]; e < crow[r + 1]; ++e) {
            const int64_t to = place[col[e]]++;
            col_t[to] = (int32_t)r;
            order[to] = (int32_t)e;
        }
    }
    return row;
}

// The entries that are not visible: their columns, places and row bounds; gives their number.
EXPORT int64_t hyvae_hidden_entries(int64_t n_rows, const int64_t *crow, const int32_t *col, const float *visible,
                                    int64_t *crow_out, int32_t *col_out, int32_t *place) {
    int64_t count = 0;
    crow_out[0] = 0;
    for (int64_t r = 0; r < n_rows; ++r) {
        for (int64_t e = crow[r]; e < crow[r + 1]; ++e) {
            if (visible[e] != 0) continue;
            if (col_out) {
                col_out[count] = col[e];
                place[count] = (int32_t)e;
            }
            ++count;
        }
        crow_out[r + 1] = count;
    }
    return count;
}

EXPORT void hyvae_residuals(int64_t n_rows, const int64_t *crow, const int32_t *col, const float *values,
                            const float *weights, float mean, const float *row_effect, const float *col_effect,
                            float *out, int threads) {
    const Residual<float> x{crow, col, values, weights, row_effect, col_effect, mean};
    over_rows(n_rows, crow, 4, threads, [&](int64_t a, int64_t b) { residual_rows_f32(x, a, b, out); });
}

EXPORT void hyvae_sum_rows(int64_t n_rows, const int64_t *crow, const int32_t *col, const float *values,
                           const float *weights, float mean, const float *row_effect, const float *col_effect,
                           float *out, int threads) {
    const Residual<float> x{crow, col, values, weights, row_effect, col_effect, mean};
    over_rows(n_rows, crow, 4, threads, [&](int64_t a, int64_t b) { sum_rows_f32(x, a, b, out); });
}

EXPORT void hyvae_sum_columns(int64_t n_rows, int64_t n_cols, const int64_t *crow, const int32_t *col,
                              const float *values, const float *weights, float mean, const float *row_effect,
                              const float *col_effect, float *out, int threads) {
    const Residual<float> x{crow, col, values, weights, row_effect, col_effect, mean};
    // a copy of the sums for each piece; the number of pieces is fixed, so that sums do not depend on the threads
    const int64_t nnz = crow[n_rows] - crow[0], pieces = nnz > n_cols ? 2 : 1;
    std::vector<double> sums(pieces * n_cols, 0.0);
    const int64_t *middle = std::lower_bound(crow, crow + n_rows, crow[0] + nnz / 2);
    const int64_t half = pieces == 2 ? middle - crow : n_rows;
#pragma omp parallel for num_threads(threads) if (pieces == 2 && nnz > kSmall)
    for (int64_t piece = 0; piece < pieces; ++piece) {
        sum_columns_f32(x, piece ? half : 0, piece ? n_rows : half, sums.data() + piece * n_cols);
    }
    for (int64_t c = 0; c < n_cols; ++c) out[c] = (float)(sums[c] + (pieces == 2 ? sums[n_cols + c] : 0.0));
}

EXPORT void hyvae_visible(int64_t n, const int64_t *keys, uint64_t key, uint64_t bound, float *out, int threads) {
    over_range(n, 4, threads, [&](int64_t a, int64_t b) { visible_range(a, b, keys, key, bound, out); });
}

EXPORT void hyvae_dropout(int64_t n, uint64_t key, uint32_t bound, float scale, const float *x, float *out,
                          int threads) {
    over_range(n, 4, threads, [&](int64_t a, int64_t b) { dropout_range(a, b, key, bound, scale, x, out); });
}

// n is even
EXPORT void hyvae_normal(int64_t n, uint64_t key, uint64_t other_key, float *out, int threads) {
    over_range(n / 2, 16, threads, [&](int64_t a, int64_t b) { normal_range(a, b, n / 2, key, other_key, out); });
}

EXPORT void hyvae_latent(int64_t n, const float *mean, const float *log_variance, const float *noise, float *z,
                         int threads) {
    over_range(n, 8, threads, [&](int64_t a, int64_t b) { sample_range(a, b, mean, log_variance, noise, z); });
}

EXPORT double hyvae_kl(int64_t n, const float *mean, const float *log_variance, int threads) {
    constexpr int64_t piece = 4096;  // sums of fixed pieces, added in order, do not depend on the number of threads
    std::vector<double> sums((n + piece - 1) / piece, 0.0);
    over_range((int64_t)sums.size(), 4 * piece, threads, [&](int64_t a, int64_t b) {
        for (int64_t k = a; k < b; ++k) sums[k] = kl_range(k * piece, std::min(n, (k + 1) * piece), mean, log_variance);
    });
    double sum = 0;
    for (double part : sums) sum += part;
    return sum;
}

EXPORT void hyvae_kl_gradient(int64_t n, float weight, const float *mean, const float *log_variance, float *to_mean,
                              float *to_log_variance, int threads) {
    over_range(n, 8, threads, [&](int64_t a, int64_t b) {
        kl_gradient_range(a, b, weight, mean, log_variance, to_mean, to_log_variance);
    });
}

// RMSprop of the rows of a table that have a gradient: the i-th row of the sparse matrix times `left` is the gradient of
// row `rows[i]`, and is never more than one row in the cache.  `latest` is the step that last touched a row: its second
// moment is decayed for the steps since, in which its gradient was zero and its weights did not move.
EXPORT void hyvae_rmsprop_rows(int64_t n, const int64_t *rows, const int64_t *crow, const int32_t *col,
                               const int32_t *order, const float *values, const float *left, int64_t width,
                               int64_t stride, float *weight, float *square, int32_t *latest, int64_t step, float alpha,
                               float rate, float epsilon, float penalty, int threads) {
    over_rows(n, crow, width, threads, [&](int64_t a, int64_t b) {
        std::vector<float> gradient(width);
        // no stride between the rows of the result: each is written over the one before
        const Product<float> p{crow, col, order, values, nullptr, left, nullptr, stride, gradient.data(), nullptr, 0};
        const int64_t strip = kStrip / (int64_t)sizeof(float);
        for (int64_t from = 0; from < width; from += strip) {
            const int64_t to = std::min(from + strip, width);
            for (int64_t i = a; i < b; ++i) {
                const int64_t row = rows[i] * width;
                product_row_f32(p, i, from, to);
                const float decay = std::pow(alpha, (float)(step - latest[rows[i]]));
                rmsprop_row(to - from, gradient.data() + from, weight + row + from, square + row + from, decay, alpha,
                            rate, epsilon, penalty);
            }
        }
        for (int64_t i = a; i < b; ++i) latest[rows[i]] = (int32_t)step;
    });
}

// RMSprop of a whole tensor; `latest` (null: every row has had a step each time) as above.
EXPORT void hyvae_rmsprop(int64_t n, int64_t width, const float *gradient, float *weight, float *square,
                          int32_t *latest, int64_t step, float alpha, float rate, float epsilon, float penalty,
                          int threads) {
    over_range(n, width, threads, [&](int64_t a, int64_t b) {
        for (int64_t row = a; row < b; ++row) {
            const float decay = latest ? std::pow(alpha, (float)(step - latest[row])) : alpha;
            rmsprop_row(width, gradient + row * width, weight + row * width, square + row * width, decay, alpha, rate,
                        epsilon, penalty);
            if (latest) latest[row] = (int32_t)step;
        }
    });
}

EXPORT void hyvae_adam(int64_t n, const float *gradient, float *weight, float *mean, float *square, float beta1,
                       float beta2, float rate, float correction, float epsilon, float penalty, int threads) {
    over_range(n, 4, threads, [&](int64_t a, int64_t b) {
        adam_range(a, b, gradient, weight, mean, square, beta1, beta2, rate, correction, epsilon, penalty);
    });
}

EXPORT void hyvae_others_f32(int64_t groups, int64_t folds, int64_t width, const float *x, float *out, int threads) {
    over_range(groups, folds * width, threads,
               [&](int64_t a, int64_t b) { others_range_f32(a, b, folds, width, x, out); });
}
EXPORT void hyvae_others_f64(int64_t groups, int64_t folds, int64_t width, const double *x, double *out, int threads) {
    over_range(groups, folds * width, threads,
               [&](int64_t a, int64_t b) { others_range_f64(a, b, folds, width, x, out); });
}

// The k best of each row of scores, merged into those found before: best (n_rows, k) and items (n_rows, k) are sorted,
// best first, and start with -inf and -1.  Of equal scores the one with the lower number comes first.  The items of a
// row of `seen` (sorted; null: none), and those that are not allowed (null: all are), are passed over; the scores of the
// seen ones are overwritten.
EXPORT void hyvae_best(int64_t n_rows, int64_t n, float *scores, int64_t stride, int64_t k, int64_t first_item,
                       const int64_t *seen_crow, const int32_t *seen_col, const uint8_t *allowed, float *best,
                       int64_t *items, int threads) {
    over_range(n_rows, n, threads, [&](int64_t a, int64_t b) {
        constexpr int64_t piece = 1024;
        int32_t found[piece + 1];
        for (int64_t r = a; r < b; ++r) {
            float *top = best + r * k;
            int64_t *item = items + r * k;
            if (seen_crow) {
                const int32_t *end = seen_col + seen_crow[r + 1];
                const int32_t *seen = std::lower_bound(seen_col + seen_crow[r], end, (int32_t)first_item);
                for (; seen < end && *seen < first_item + n; ++seen) {
                    scores[r * stride + *seen - first_item] = -std::numeric_limits<float>::infinity();
                }
            }
            for (int64_t start = 0; start < n; start += piece) {
                const float *row = scores + r * stride + start;
                const int64_t count = above(row, std::min(piece, n - start), top[k - 1], found);
                for (int64_t i = 0; i < count; ++i) {
                    const float score = row[found[i]];
                    if (!(score > top[k - 1]) || (allowed && !allowed[first_item + start + found[i]])) continue;
                    int64_t place = k - 1;
                    for (; place > 0 && top[place - 1] < score; --place) {
                        top[place] = top[place - 1];
                        item[place] = item[place - 1];
                    }
                    top[place] = score;
                    item[place] = first_item + start + found[i];
                }
            }
        }
    });
}
