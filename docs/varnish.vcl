# Varnish 6.0 or later before two front-ends. tests/e2e/test_proxies.py runs this file, with other addresses.
#
# It answers reads of a value out of its own memory for a second; then it asks with the tag that it has, and a value that has not changed
# is not sent again. So what a client reads may be a second old, also by its own write. Keys that do not exist are asked for each time.

vcl 4.1;

import directors;

probe ready {
    .url = "/-/ready";
    .interval = 250ms;
    .timeout = 1s;
    .window = 2;
    .threshold = 2;
    .initial = 1;
}

backend one {
    .host = "10.0.0.1";
    .port = "8000";
    .probe = ready;
    .connect_timeout = 1s;
    # Longer than any wait of clients (Prefer: wait=N).
    .first_byte_timeout = 3600s;
}

backend two {
    .host = "10.0.0.2";
    .port = "8000";
    .probe = ready;
    .connect_timeout = 1s;
    .first_byte_timeout = 3600s;
}

sub vcl_init {
    new front_ends = directors.round_robin();
    front_ends.add_backend(one);
    front_ends.add_backend(two);
}

sub vcl_recv {
    set req.backend_hint = front_ends.backend();
    # All names are one store: with this line they share the cache, too.
    set req.http.Host = "fog";
    # Writes, operations, and whoever waits for a change.
    if ((req.method != "GET" && req.method != "HEAD") || req.http.Prefer || req.url ~ "^/-/" || req.url == "/") {
        return (pass);
    }
    return (hash);
}

sub vcl_backend_response {
    # Where a time to live is left, Fog-TTL goes by what it was a second ago at most.
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
    # For so long an old value is kept, to be asked about with its tag.
    set beresp.keep = 60s;
    if (beresp.status != 200) {
        set beresp.uncacheable = true;
        set beresp.ttl = 0s;
    }
    return (deliver);
}
