# What the linker is told for single unit tests: which functions are put through the test.
LDFLAGS_heap_test := -Wl,--wrap=mmap,--wrap=madvise
LDFLAGS_conn_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_loop_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_resolver_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_route_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_server_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_upstream_life_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_upstream_storm_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
LDFLAGS_store_test := -Wl,--wrap=heap_alloc
LDFLAGS_failure_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=heap_alloc
LDFLAGS_frontend_test := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
