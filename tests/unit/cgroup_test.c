/* What the control groups of a process leave it of the machine's memory. The files of /proc and /sys are those of a table: linked with
 * --wrap=fopen. */
#include "net/io_epoll.h"
#include "unit.h"

enum { FILES_MAX = 6 };

struct file {
    const char *path, *says;
};

static const struct file *files;

FILE *__wrap_fopen(const char *path, const char *mode);

FILE *__wrap_fopen(const char *path, const char *mode)
{
    for (unsigned i = 0; i < FILES_MAX && files[i].path; i++)
        if (strcmp(path, files[i].path) == 0)
            return fmemopen((char *)(uintptr_t)files[i].says, strlen(files[i].says), mode);
    return NULL;
}

#define OWN "/proc/self/cgroup"
#define ROOT "/sys/fs/cgroup"
#define MIB(n) ((uint64_t)(n) << 20)

/* The machine's own memory counts as no limit here. */
static const struct {
    const char *what;
    uint64_t bytes;
    struct file files[FILES_MAX];
} groups[] = {
    {"no file at all", 0, {{0}}},
    {"no limit", 0, {{OWN, "0::/a/b\n"}, {ROOT "/a/b/memory.max", "max\n"}}},
    {"its own", MIB(64), {{OWN, "0::/a/b\n"}, {ROOT "/a/b/memory.max", "67108864\n"}}},
    {"its slice's",
     MIB(64),
     {{OWN, "0::/fog.slice/fog.service\n"},
      {ROOT "/fog.slice/fog.service/memory.max", "max\n"},
      {ROOT "/fog.slice/memory.max", "67108864\n"}}},
    {"the slice's, which is less",
     MIB(32),
     {{OWN, "0::/a/b/c\n"},
      {ROOT "/a/b/c/memory.max", "67108864\n"},
      {ROOT "/a/b/memory.max", "50331648\n"},
      {ROOT "/a/memory.max", "33554432\n"}}},
    {"its own, which is less",
     MIB(32),
     {{OWN, "0::/a/b\n"},
      {ROOT "/a/b/memory.max", "33554432\n"},
      {ROOT "/a/memory.max", "67108864\n"}}},
    {"a container's, which is the root there",
     MIB(64),
     {{OWN, "0::/\n"}, {ROOT "/memory.max", "67108864\n"}}},
    {"of a container that has groups of its own",
     MIB(64),
     {{OWN, "0::/init\n"}, {ROOT "/init/memory.max", "max\n"}, {ROOT "/memory.max", "67108864\n"}}},
    {"behind hierarchies of version 1",
     MIB(64),
     {{OWN, "2:net_cls:/\n1:name=systemd:/a/b\n0::/a/b\n"},
      {ROOT "/a/b/memory.max", "67108864\n"}}},
    {"version 1 alone",
     0,
     {{OWN, "4:memory:/a\n1:cpu:/a\n"}, {ROOT "/a/memory.max", "67108864\n"}}},
    {"a group that is gone",
     MIB(64),
     {{OWN, "0::/a/b (deleted)\n"}, {ROOT "/a/memory.max", "67108864\n"}}},
    {"beyond the root", 0, {{OWN, "0::/../a\n"}}},
    {"an empty file", 0, {{OWN, "\n"}}},
};

static void test_limits(void **state)
{
    uint64_t machine;
    (void)state;
    files = groups[0].files;
    machine = io_epoll_memory_bytes();
    assert_true(machine > MIB(64));
    for (size_t i = 0; i < COUNT(groups); i++) {
        files = groups[i].files;
        uint64_t bytes = io_epoll_memory_bytes();
        check(bytes == (groups[i].bytes ? groups[i].bytes : machine), "%s: %llu bytes",
              groups[i].what, (unsigned long long)bytes);
    }
}

/* As long as a path may be. */
static void test_long_path(void **state)
{
    static char own[4096], leaf[4096];
    static const struct file long_path[FILES_MAX] = {
        {OWN, own}, {ROOT "/a/memory.max", "67108864\n"}, {leaf, "33554432\n"}};
    (void)state;
    files = long_path;
    snprintf(own, sizeof own, "0::/a/%04000d\n", 0);
    snprintf(leaf, sizeof leaf, ROOT "/a/%04000d/memory.max", 0);
    assert_int_equal(io_epoll_memory_bytes(), MIB(32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
