/* Holds a reply against its request, the rules of HTTP and the model. */
#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H

#include "call.h"

/* The connection that the reply came on, as far as it matters. */
struct judge_place {
    struct scene *scene;
    const char *who;
    uint64_t *own_floors; /* by the key's number: seen on this connection */
    uint64_t begun_us;    /* when it was opened */
    uint64_t previous_us; /* when the reply before came */
    bool first;           /* nothing came on this connection before */
    bool prompt;          /* whatever the node sends is here within faults_slack_us */
    bool shut;            /* the client has ended its side, which may end a wait early */
    bool slow;            /* the client took so long to send that its time may be over */
};

void judge_reply(struct judge_place *place, struct call *call, const struct response *response);

#endif
