#include "role/diff_list.h"

#include <errno.h>
#include <stdlib.h>

static int compare_keys(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_lines(const void *a, const void *b)
{
    return compare_keys(((const struct diff_line *)a)->key, ((const struct diff_line *)b)->key);
}

/* As a key is that is percent-encoded. */
static bool is_plain(struct slice key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~')
            return false;
    return key.len > 0;
}

/* "DIGEST VERSION value|deleted KEY". */
static bool read_line(struct slice text, struct diff_line *line)
{
    struct slice digest, version, kind;
    unsigned long long number;
    if (!slice_next(&text, ' ', &digest) || !slice_next(&text, ' ', &version) ||
        !slice_next(&text, ' ', &kind) || !is_plain(text) || !slice_hex(digest, &line->digest) ||
        !slice_number(version, UINT64_MAX, &number))
        return false;
    line->version = number;
    line->deleted = slice_equal(kind, SLICE("deleted"));
    line->key = text;
    return line->deleted || slice_equal(kind, SLICE("value"));
}

static unsigned count_lines(struct slice text)
{
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == '\n';
    return count;
}

int diff_list_read(struct diff_list *list, struct slice text)
{
    unsigned count = count_lines(text);
    *list = (struct diff_list){.lines = malloc((count + 1) * sizeof *list->lines)};
    if (!list->lines)
        return -ENOMEM;
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (!end || !read_line((struct slice){text.data, len}, &list->lines[list->count++])) {
            diff_list_free(list);
            return -EINVAL;
        }
        text = (struct slice){end + 1, text.len - len - 1};
    }
    qsort(list->lines, list->count, sizeof *list->lines, compare_lines);
    return 0;
}

void diff_list_free(struct diff_list *list)
{
    free(list->lines);
    *list = (struct diff_list){0};
}

bool diff_walk_next(struct diff_walk *walk, const struct diff_line **a, const struct diff_line **b)
{
    while (walk->a_at < walk->a->count || walk->b_at < walk->b->count) {
        const struct diff_line *left = NULL, *right = NULL;
        if (walk->a_at < walk->a->count)
            left = &walk->a->lines[walk->a_at];
        if (walk->b_at < walk->b->count)
            right = &walk->b->lines[walk->b_at];
        int order = !left ? 1 : !right ? -1 : compare_keys(left->key, right->key);
        *a = order <= 0 ? left : NULL;
        *b = order >= 0 ? right : NULL;
        walk->a_at += order <= 0;
        walk->b_at += order >= 0;
        if (order != 0 || left->digest != right->digest)
            return true;
    }
    return false;
}

bool diff_next_digests(struct slice *a, struct slice *b, struct slice *a_digest,
                       struct slice *b_digest)
{
    struct slice a_line, b_line, a_name, b_name;
    return slice_next(a, '\n', &a_line) && slice_next(b, '\n', &b_line) &&
           slice_next(&a_line, ' ', &a_name) && slice_next(&b_line, ' ', &b_name) &&
           slice_equal(a_name, b_name) && slice_next(&a_line, ' ', a_digest) &&
           slice_next(&b_line, ' ', b_digest);
}
