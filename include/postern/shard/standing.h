#pragma once

#include "postern/base/network.h"
#include "postern/config/config.h"
#include "postern/mail/submission.h"

namespace postern::shard {

/// Sets what a client at `ip` may, by its listener's configuration. `client.stated` says whether
/// `ip` is the connection's own end, or what a PROXY header or XCLIENT says: proxies are known by
/// their connection alone. A proxy is trusted with nothing, whatever networks it is in: until it
/// has named a client it is nobody's, and from then on the client's address is judged.
void judge(mail::Client& client, const config::Listener& listener, const base::IpAddress& ip);

/// The same where nobody knows the address.
void judge_unknown(mail::Client& client);

/// Copies what XCLIENT and XFORWARD said of its client into the submission's arena. False: there is
/// no memory.
bool copy_introduction(mail::Submission& submission);

}  // namespace postern::shard
