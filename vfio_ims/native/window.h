/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_WINDOW_H
#define VFIO_IMS_WINDOW_H

#include <stdint.h>

/* A region of a device: one reservation of addresses with pieces of the device mapped over it. */
struct window;

/* NULL with errno. The caller frees. */
struct window *window_new(uint64_t size);
void window_free(struct window *w);

/* Map `size` bytes of `fd` from `file_offset` at `at`. Whole pages. Returns 0 or -errno. */
int window_map(struct window *w, uint64_t at, uint64_t size, int fd, uint64_t file_offset, int writable);
/* Refuse writes that meet [start, end). */
void window_guard(struct window *w, uint64_t start, uint64_t end);
/* Whether accesses go elsewhere, in Python: row_plan_again() leaves them alone then. */
void window_divert(struct window *w, int diverted);
/* Take the mappings away; waits until accesses of other threads have left. */
void window_close(struct window *w);
/* 1 if every byte of the range can be read through a mapping. */
int window_mapped(struct window *w, uint64_t offset, uint64_t size);

/* The value, or an access_status. */
int64_t window_read8(struct window *w, uint64_t offset);
int64_t window_read16(struct window *w, uint64_t offset);
int64_t window_read32(struct window *w, uint64_t offset);
/* The value; all ones may be a failure, and then window_status() of the same thread says so. */
uint64_t window_read64(struct window *w, uint64_t offset);
int window_status(void);

int window_write8(struct window *w, uint64_t offset, uint8_t value);
int window_write16(struct window *w, uint64_t offset, uint16_t value);
int window_write32(struct window *w, uint64_t offset, uint32_t value);
int window_write64(struct window *w, uint64_t offset, uint64_t value);

int window_read_block(struct window *w, uint64_t offset, uint64_t count, uint32_t width, void *out);
int window_write_block(struct window *w, uint64_t offset, uint64_t count, uint32_t width, const void *data);
int window_poll(struct window *w, uint64_t offset, uint32_t width, uint64_t mask, uint64_t expected,
                int64_t timeout_ns, uint64_t *value);
int window_write_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                       const uint32_t *steps, uint32_t step_count, const uint32_t *words, uint32_t words_per_row);
/* The 32-bit word at offset + index * stride of each row. */
int window_read_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                      uint32_t *out);
/* The i-th 64 bytes go to offset + (i * stride) % span. `pieces`: eight 8-byte stores each instead of one. */
int window_store64(struct window *w, uint64_t offset, const void *data, uint64_t count, uint64_t stride,
                   uint64_t span, int pieces);

/* One column of an array of rows: `width` bytes (1, 2, 4, 8) at `at` of each row, a multiple of it; the i-th from
 * data + i * width; without data, the low bytes of first + i * step. Columns do not overlap. */
struct row_column {
    const void *data;
    uint64_t first;
    uint64_t step;
    uint32_t at;
    uint32_t width;
};
/* As window_store64, of rows *next to count - 1 made of a 64-byte pattern and columns (at most 16), row 0 at `start` in
 * the span, a multiple of the stride. Row i completes in `records` + i * record_step (0: there are none): they are cleared before row 0 is stored,
 * and before row i >= depth (0: no limit) it waits until the first byte of record i - depth is not 0. *next: count, or
 * the row that it was about to store when the time was over. */
int window_store_rows(struct window *w, uint64_t offset, uint64_t start, uint64_t stride, uint64_t span, int pieces,
                      const void *pattern, uint64_t count, const struct row_column *columns, uint32_t column_count,
                      uint64_t records, uint64_t record_step, uint64_t depth, int64_t timeout_ns, uint64_t *next);
/* A list in memory behind the window: rows of `size` bytes (8 to 64, whole words) one behind the other from `offset` on,
 * stored in words of 8 bytes, each made of a `pattern` and columns, none of 8 bytes in the first word; the last row's
 * first word has the bits `last`, too. Row 0's first word is stored last of all and read back: whoever follows the list
 * by it sees the whole or nothing. ACCESS_BUSY where the window's accesses go elsewhere. */
int window_store_list(struct window *w, uint64_t offset, const void *pattern, uint32_t size, uint64_t count,
                      const struct row_column *columns, uint32_t column_count, uint64_t last);

#endif
