// SPDX-License-Identifier: Apache-2.0
//
// Telling systemd how a service is: one datagram to $NOTIFY_SOCKET, as sd_notify(3) does; nothing when there is none.
#ifndef BR_TOOLS_NOTIFY_H
#define BR_TOOLS_NOTIFY_H

/** notify - send @state, lines such as "READY=1"; never fails: a service that nobody waits for runs all the same */
void notify(const char *state);
/** notify_reloading - "RELOADING=1" with the monotonic time that systemd 253 and later want beside it */
void notify_reloading(void);

#endif
