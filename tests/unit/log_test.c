#include "base/log.h"

#include <errno.h>

#include "unit.h"

enum { LINE_BYTES_MAX = 1000 };

/* Where the lines go. */
static struct {
    char line[2 * LINE_BYTES_MAX];
    unsigned bytes, lines, clock_reads;
    uint64_t later_us;
    bool full;
} sink;

static bool sink_write(void *to, const char *line, unsigned bytes)
{
    assert_ptr_equal(to, &sink);
    assert_true(bytes <= LINE_BYTES_MAX);
    if (sink.full)
        return false;
    memcpy(sink.line, line, bytes);
    sink.bytes = bytes;
    sink.lines++;
    return true;
}

static uint64_t noon_us(void *clock)
{
    assert_ptr_equal(clock, &sink.clock_reads);
    sink.clock_reads++;
    return 1795348800123456 + sink.later_us; /* 2026-11-22T12:00:00.123456Z */
}

static struct log log_make(enum log_level level, bool journald)
{
    memset(&sink, 0, sizeof sink);
    return (struct log){.level = level,
                        .journald = journald,
                        .wall_us = noon_us,
                        .clock = &sink.clock_reads,
                        .write = sink_write,
                        .sink = &sink};
}

static void check_line(const char *wanted)
{
    check_slice((struct slice){sink.line, sink.bytes}, slice_of(wanted), "the line");
}

static void test_format(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, false);
    log_event(&log, LOG_INFO_LEVEL, "listening", "address=%s port=%d", "[::]", 8000);
    check_line("time=2026-11-22T12:00:00.123Z level=info event=listening address=[::] port=8000\n");
    log_event(&log, LOG_WARN_LEVEL, "stopped", "%s", "");
    check_line("time=2026-11-22T12:00:00.123Z level=warn event=stopped\n");
    log_event(&log, LOG_ERROR_LEVEL, "odd", "msg=\"100%%\"");
    check_line("time=2026-11-22T12:00:00.123Z level=error event=odd msg=\"100%\"\n");
    assert_int_equal(sink.lines, 3);
}

/* "" for no values, which the compiler warns of when it is written out. */
static void test_no_values(void **state)
{
    (void)state;
    const char *volatile nothing = "";
    struct log log = log_make(LOG_INFO_LEVEL, false);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    log_event(&log, LOG_INFO_LEVEL, "stopped", nothing);
#pragma GCC diagnostic pop
    check_line("time=2026-11-22T12:00:00.123Z level=info event=stopped\n");
}

static void test_journald(void **state)
{
    (void)state;
    static const struct {
        enum log_level level;
        const char *wanted;
    } rows[] = {
        {LOG_ERROR_LEVEL, "<3>level=error event=e k=v\n"},
        {LOG_WARN_LEVEL, "<4>level=warn event=e k=v\n"},
        {LOG_INFO_LEVEL, "<6>level=info event=e k=v\n"},
        {LOG_DEBUG_LEVEL, "<7>level=debug event=e k=v\n"},
    };
    struct log log = log_make(LOG_DEBUG_LEVEL, true);
    for (size_t i = 0; i < COUNT(rows); i++) {
        log_event(&log, rows[i].level, "e", "k=%c", 'v');
        check_line(rows[i].wanted);
    }
}

static void test_levels(void **state)
{
    (void)state;
    for (int level = LOG_ERROR_LEVEL; level <= LOG_DEBUG_LEVEL; level++)
        for (int event = LOG_ERROR_LEVEL; event <= LOG_DEBUG_LEVEL; event++) {
            struct log log = log_make((enum log_level)level, false);
            log_event(&log, (enum log_level)event, "e", "k=%d", 1);
            check(sink.lines == (event <= level), "event of level %d, log of %d", event, level);
        }
}

static void test_level_names(void **state)
{
    (void)state;
    static const char *const good[] = {"error", "warn", "info", "debug"};
    static const char *const bad[] = {"",      "warning", "Info",  "INFO", "err",   "inf",
                                      "infos", " info",   "info ", "0",    "notice"};
    enum log_level level = LOG_DEBUG_LEVEL;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(log_level_parse(good[i], &level), 0);
        assert_int_equal(level, i);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        check(log_level_parse(bad[i], &level) == -EINVAL, "\"%s\"", bad[i]);
        assert_int_equal(level, LOG_DEBUG_LEVEL);
    }
}

/* Whatever the values hold, one event is one line. */
static void test_control_characters(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    log_event(&log, LOG_INFO_LEVEL, "e", "a=%s", "x\ny\r\nz\t\x1b[31m\x7f\x01.");
    check_line("<6>level=info event=e a=x y  z  [31m  .\n");
    char all[256];
    for (int c = 1; c < 256; c++)
        all[c - 1] = (char)c;
    all[255] = 0;
    log_event(&log, LOG_INFO_LEVEL, "e", "%s", all);
    assert_int_equal(sink.bytes, strlen("<6>level=info event=e ") + 255 + 1);
    for (unsigned i = 0; i < sink.bytes - 1; i++)
        check((unsigned char)sink.line[i] >= ' ' && sink.line[i] != 127, "byte %u", i);
    /* What is above ASCII is left as it is. */
    log_event(&log, LOG_INFO_LEVEL, "e", "key=%s", "\u043a\u043b\u044e\u0447");
    check_line("<6>level=info event=e key=\u043a\u043b\u044e\u0447\n");
}

static void test_quotable(void **state)
{
    (void)state;
    char out[12];
    const struct {
        struct slice said;
        const char *wanted;
    } rows[] = {
        {SLICE(""), ""},
        {SLICE("as it is."), "as it is."},
        {SLICE("a\" b=\"c"), "a' b='c"},
        {SLICE("end\\"), "end/"},
        {SLICE("\0a\nb\x1b"), " a b "},
        {SLICE("\u043a\u043b"), "\u043a\u043b"},
        {SLICE("12345678901"), "12345678901"},
        {SLICE("12345678901\""), "12345678901"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_string_equal(log_quotable(rows[i].said, out, sizeof out), rows[i].wanted);
}

static void test_cut(void **state)
{
    (void)state;
    static const char start[] = "<6>level=info event=e k=";
    char value[3 * LINE_BYTES_MAX];
    for (size_t length = 900; length<sizeof value; length += length> 1100 ? 101 : 1) {
        struct log log = log_make(LOG_INFO_LEVEL, true);
        memset(value, 'v', length);
        value[length] = 0;
        log_event(&log, LOG_INFO_LEVEL, "e", "k=%s", value);
        size_t whole = sizeof start - 1 + length + 1;
        check(sink.bytes == (whole < LINE_BYTES_MAX ? whole : LINE_BYTES_MAX), "%zu bytes", whole);
        assert_int_equal(sink.line[sink.bytes - 1], '\n');
        assert_int_equal(sink.lines, 1);
        assert_memory_equal(sink.line, start, sizeof start - 1);
        for (size_t i = sizeof start - 1; i < sink.bytes - 1; i++)
            assert_int_equal(sink.line[i], 'v');
    }
}

/* What lasts is told once, and then from time to time; what is another one's is told at once. */
static void test_condition(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    for (int i = 0; i < 1000; i++) {
        log_condition(&log, LOG_WARN_LEVEL, "name-unknown", "a", "name=%s", "a");
        log_condition(&log, LOG_WARN_LEVEL, "name-unknown", "b", "name=%s", "b");
        log_condition(&log, LOG_DEBUG_LEVEL, "unheard", "a", "name=%s", "a");
        sink.later_us += LOG_AGAIN_US / 2000;
    }
    assert_int_equal(sink.lines, 2);
    check_line("<4>level=warn event=name-unknown name=b\n");
    sink.later_us = LOG_AGAIN_US;
    log_condition(&log, LOG_WARN_LEVEL, "name-unknown", "a", "name=%s", "a");
    check_line("<4>level=warn event=name-unknown times=1000 name=a\n");
    sink.later_us = 0; /* the clock is set back */
    log_condition(&log, LOG_WARN_LEVEL, "name-unknown", "a", "name=%s", "a");
    assert_int_equal(sink.lines, 4);
    check_line("<4>level=warn event=name-unknown name=a\n");
}

/* More conditions than are remembered: those that are told again are bounded by what all events are. */
static void test_many_conditions(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    char key[16];
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "%d", i);
        log_condition(&log, LOG_WARN_LEVEL, "member-refused", key, "member=%s", key);
        sink.later_us += 1000;
    }
    check(sink.lines <= LOG_BURST_MAX + 100 * LOG_PER_SECOND_MAX, "%u lines in 100 s", sink.lines);
    check(sink.lines >= 100 * LOG_PER_SECOND_MAX, "%u lines in 100 s", sink.lines);
}

/* However many come at a stretch, so many are told, and later how many were not. Others do not suffer. */
static void test_burst(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    for (int i = 0; i < LOG_BURST_MAX + 700; i++)
        log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", i);
    assert_int_equal(sink.lines, LOG_BURST_MAX);
    log_event(&log, LOG_INFO_LEVEL, "ready", "members=%d", 1);
    check_line("<6>level=info event=ready members=1\n");
    sink.later_us = 1000000;
    for (int i = 0; i < 100; i++)
        log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", i);
    assert_int_equal(sink.lines, LOG_BURST_MAX + 1 + LOG_PER_SECOND_MAX);
    sink.later_us = 500 * 1000000ULL;
    log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", 7);
    check_line("<6>level=info event=member-up left_out=98 member=7\n");
    for (int i = 1; i < LOG_BURST_MAX; i++)
        log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", i);
    assert_int_equal(sink.lines, 2 * LOG_BURST_MAX + 1 + LOG_PER_SECOND_MAX);
}

/* Where there is no room for a while, the first line after it says how many had none. */
static void test_lost(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    sink.full = true;
    for (int i = 0; i < LOG_BURST_MAX + 5; i++)
        log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", i);
    log_event(&log, LOG_INFO_LEVEL, "ready", "members=%d", 1);
    assert_int_equal(sink.lines, 0);
    sink.full = false;
    log_event(&log, LOG_INFO_LEVEL, "ready", "members=%d", 2);
    check_line("<6>level=info event=ready lost=201 members=2\n");
    log_event(&log, LOG_INFO_LEVEL, "ready", "members=%d", 3);
    check_line("<6>level=info event=ready members=3\n");
    sink.later_us = 10 * 1000000;
    log_event(&log, LOG_INFO_LEVEL, "member-up", "member=%d", 7);
    check_line("<6>level=info event=member-up left_out=5 member=7\n");
}

/* As many as are told apart, each after a burst of all before it; those that are more share the limits of these. */
static void test_events_are_told_apart(void **state)
{
    (void)state;
    struct log log = log_make(LOG_INFO_LEVEL, true);
    char name[24], wanted[64];
    for (int i = 0; i < LOG_EVENTS_MAX; i++) {
        snprintf(name, sizeof name, "event-%d", i);
        snprintf(wanted, sizeof wanted, "<6>level=info event=event-%d k=0\n", i);
        log_event(&log, LOG_INFO_LEVEL, name, "k=%d", 0);
        check_line(wanted);
        for (int k = 1; k < LOG_BURST_MAX + 9; k++)
            log_event(&log, LOG_INFO_LEVEL, name, "k=%d", k);
    }
    assert_int_equal(sink.lines, LOG_EVENTS_MAX * LOG_BURST_MAX);
    log_event(&log, LOG_INFO_LEVEL, "one-more", "k=%d", 0);
    assert_int_equal(sink.lines, LOG_EVENTS_MAX * LOG_BURST_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_no_values),
        cmocka_unit_test(test_journald),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_level_names),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_quotable),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_condition),
        cmocka_unit_test(test_many_conditions),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_events_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
