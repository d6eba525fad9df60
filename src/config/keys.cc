#include "keys.h"

#include "checks.h"

namespace postern::config {
namespace {

constexpr std::string_view a_network = "networks, such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
constexpr std::string_view a_host =
    "hosts, such as \"mx1.internal\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\"";

// A row a key: name, member, default, what is allowed; the sentence; its check and flags.
// clang-format off
constexpr Key<Config> top_keys[] = {
    {"hostname", member<&Config::hostname>, "(the system's)", "a host name",
     "Our own name: in the greeting, in Received: lines and towards smart hosts. A name without "
     "a dot is warned of.",
     check_host_name},
    {"workers", member<&Config::workers>, "0", "0 .. 1024",
     "Worker threads; 0: one for each core that the process may run on.",
     nullptr, Flags::restart},
};

constexpr Key<Listener> listener_keys[] = {
    {"address", member<&Listener::address>, "(none: each listener must say it)",
     "an address and a port, such as \"0.0.0.0:25\" or \"[::]:25\"",
     "Where senders connect to."},
    {"tls", member<&Listener::tls>, "(starttls with [tls] certificates, else none)",
     "none | starttls | implicit",
     "Whether senders may (starttls) or must (implicit) speak TLS."},
    {"proxy_networks", member<&Listener::proxy_networks>, "[]", a_network,
     "From these, and only these, a PROXY header (version 1 or 2) is expected."},
    {"trusted", member<&Listener::trusted>, "false", "",
     "All clients of this listener may use restricted rules."},
    {"bare_newline", member<&Listener::bare_newline>, "\"normalize\"", "normalize | reject",
     "A bare LF or CR in a body is repaired before it goes on (LF to CRLF, CR to a blank), or "
     "the message is refused."},
    {"ehlo_hide", member<&Listener::ehlo_hide>, "[]", own_extensions,
     "Extensions that are not announced here.",
     check_own_extension},
    {"xclient_networks", member<&Listener::xclient_networks>, "[]", a_network,
     "Who may say XCLIENT; [relay] does not imply it."},
    {"xforward_networks", member<&Listener::xforward_networks>, "[]", a_network,
     "Who may say XFORWARD; [relay] does not imply it."},
    {"auth_file", member<&Listener::auth_file>, "\"\"", "a file",
     "Names of those who may say AUTH, which needs TLS, and their passwords' hashes: a line NAME:HASH "
     "each, as crypt(3) makes them (yescrypt, bcrypt, SHA-512); empty: nobody."},
    {"greeting_pause", member<&Listener::greeting_pause>, "\"0 s\"", "0 s .. 1 min",
     "How long the greeting is held back; who speaks before it is turned away."},
};

constexpr Key<Rules> rules_keys[] = {
    {"files", member<&Rules::files>, "[]", "files or globs; each must match something", "The rules files."},
    {"shrink_max", member<&Rules::shrink_max>, "\"20 %\"", "0 % .. 100 %",
     "A reload that removes a larger part of the rules (and over 100 of them) must be forced."},
    {"recipient_delimiter", member<&Rules::recipient_delimiter>, "\"+\"", "one character, or nothing: off",
     "A rule for user@domain also takes user+anything@domain.",
     check_delimiter},
};

constexpr Key<Relay> relay_keys[] = {
    {"networks", member<&Relay::networks>, "[]", a_network,
     "Who may use restricted rules."},
    {"deny", member<&Relay::deny>, "[]", a_network,
     "Who may not, though networks has them; looked at first. Never applies to always-relay "
     "rules."},
    {"allow_open_relay", member<&Relay::allow_open_relay>, "false", "",
     "Whether the rule '* TARGET always-relay', an open relay, is allowed.",
     nullptr, Flags::process_wide},
    {"soft_reject", member<&Relay::soft_reject>, "false", "",
     "Relaying is denied with 450 4.7.1 instead of 550 5.7.1: for the first days of a migration."},
    {"routed_local_parts", member<&Relay::routed_local_parts>, "false", "",
     "Whether clients that are not in networks may send to local parts with @ % ! : or a leading "
     "/ or vertical bar."},
};

constexpr Key<Pool> pool_keys[] = {
    {"hosts", member<&Pool::hosts>, "(none: each pool must say it)", a_host,
     "The hosts that share the pool's work."},
    {"backup", member<&Pool::backup>, "[]", a_host,
     "Used, in order, when none of hosts is healthy."},
    {"connections", member<&Pool::connections>, "32", "1 .. 10000",
     "Connections to each host, over all workers; at least one for a worker that uses it."},
    {"pipeline", member<&Pool::pipeline>, "64", "1 .. 1000",
     "Most messages in flight on one connection; the depth used adapts below it."},
    {"recipients_max", member<&Pool::recipients_max>, "100", "1 .. 10000",
     "Recipients in one transaction to a host; less by its LIMITS."},
    {"tls", member<&Pool::tls>, "\"opportunistic\"", "none | opportunistic | required | verify",
     "TLS towards the hosts: never; where it is offered and can be had; always; or always and with "
     "a certificate that holds."},
    {"tls_ca", member<&Pool::tls_ca>, "\"\"", "a file",
     "Certificates of the authorities that verify trusts; empty: the system's."},
    {"tls_name", member<&Pool::tls_name>, "\"\"", "a host name, or nothing",
     "The name that the hosts' certificates must hold; empty: the host's own.",
     check_optional_name},
    {"tls_cert", member<&Pool::tls_cert>, "\"\"", "a file",
     "Our certificate towards the hosts; empty: none."},
    {"tls_key", member<&Pool::tls_key>, "\"\"", "a file", "The key of tls_cert."},
    {"auth_user", member<&Pool::auth_user>, "\"\"", "up to 255 octets of printable ASCII without blanks, or nothing",
     "The name that we say AUTH with, by PLAIN or LOGIN, under TLS unless tls is none; empty: no AUTH.",
     check_auth_user},
    {"auth_password_file", member<&Pool::auth_password_file>, "\"\"", "a file",
     "The file's one line is the password of auth_user."},
    {"ehlo_ignore", member<&Pool::ehlo_ignore>, "[]", "EHLO keywords",
     "Extensions that the hosts offer and do badly: not used.",
     check_ehlo_keyword},
    {"source", member<&Pool::source>, "[]", "local addresses without a port",
     "What we connect from; empty: the system chooses.",
     check_address},
    {"helo", member<&Pool::helo>, "(hostname)", "a host name or an address literal",
     "The name that we say EHLO with.",
     check_helo},
    {"delivery", member<&Pool::delivery>, "(the listener's or [delivery]'s mode)", "sync | hybrid | queue",
     "Who is responsible for a message, and when; goes before mode, a rule's delivery goes "
     "before this."},
    {"defer", member<&Pool::defer>, "([delivery]'s)", "pass | spool", "As in [delivery]."},
    {"send_8bit", member<&Pool::send_8bit>, "false", "",
     "Whether 8-bit bodies go to hosts that do not offer 8BITMIME."},
    {"max_age", member<&Pool::max_age>, "\"300 s\"", "1 s .. 1 day",
     "A connection older than this takes no new message."},
    {"idle", member<&Pool::idle>, "\"60 s\"", "100 ms .. 1 day",
     "A connection without a message for this long is closed."},
    {"xforward", member<&Pool::xforward>, "false", "",
     "Whether hosts that offer XFORWARD are told who the client was."},
    {"verify", member<&Pool::verify>, "\"none\"", "none | rcpt",
     "rcpt: the hosts are asked about each recipient, by RCPT, before it is accepted, unless their "
     "answer is known."},
    {"verify_unknown", member<&Pool::verify_unknown>, "\"defer\"", "defer | accept",
     "What happens to a recipient while no host can be asked: 450 4.1.1, or it is accepted."},
    {"recipients_files", member<&Pool::recipients_files>, "[]", "files or globs; each must match something",
     "Lists of the recipients that exist, one a line: local@domain, or @domain for all of that "
     "domain; others get 550 5.1.1. Empty: not known."},
};

constexpr Key<Delivery> delivery_keys[] = {
    {"mode", member<&Delivery::mode>, "\"hybrid\"", "sync | hybrid | queue",
     "sync: the sender's answer is the smart host's own, and nothing is kept here; hybrid: the same while "
     "it comes within hybrid_deadline, else the message is spooled, then answered with 250; queue: it is "
     "spooled, answered with 250, then handed over. A pool's and a rule's delivery go before it."},
    {"hybrid_deadline", member<&Delivery::hybrid_deadline>, "\"20 s\"", "100 ms .. 1 h",
     "In hybrid: how long the smart host's answer is waited for before the message is spooled."},
    {"sync_limit", member<&Delivery::sync_limit>, "\"9 min\"", "100 ms .. 1 h",
     "From the sender's last byte to our answer, at most (senders wait 10 min: RFC 5321, "
     "4.5.3.2.6)."},
    {"defer", member<&Delivery::defer>, "\"pass\"", "pass | spool",
     "In hybrid: a smart host's own 4xx for all recipients goes to the sender, or the message to "
     "the spool."},
    {"postmaster", member<&Delivery::postmaster>, "\"\"", "an address as local@domain, or nothing",
     "What <postmaster> without a domain becomes; empty: 550 5.1.1, and a warning.",
     check_optional_mailbox},
    {"notify_pool", member<&Delivery::notify_pool>, "\"\"", "the name of a pool, or nothing",
     "Where notifications go whose recipient no rule matches; empty: to postmaster, else the "
     "dead-letter folder. Both of them by [delivery], else by the first listener that has one.",
     check_optional_pool},
};

constexpr Key<Retry> retry_keys[] = {
    {"first", member<&Retry::first>, "\"1 min\"", "1 s .. 1 day",
     "The pause before the second attempt; each later one is twice as long."},
    {"max", member<&Retry::max>, "\"1 h\"", "1 s .. 1 day", "The longest pause."},
    {"expire", member<&Retry::expire>, "\"5 days\"", "1 s .. 100 days",
     "How old a message becomes before it is given up and its sender notified."},
};

constexpr Key<Timeouts> timeouts_keys[] = {
    {"command", member<&Timeouts::command>, "\"5 min\"", "100 ms .. 1 day", "A sender's next command."},
    {"data", member<&Timeouts::data>, "\"3 min\"", "100 ms .. 1 day", "The next piece of a body."},
    {"connect", member<&Timeouts::connect>, "\"30 s\"", "100 ms .. 1 h",
     "A smart host's connection and greeting."},
    {"reply", member<&Timeouts::reply>, "\"5 min\"", "100 ms .. 1 day",
     "Each of its answers, from the answer before it."},
    {"busy", member<&Timeouts::busy>, "\"10 s\"", "0 s .. 1 h",
     "A message's wait for a free place in its pool."},
    {"data_done", member<&Timeouts::data_done>, "\"10 min\"", "100 ms .. 1 day", "Its answer to the body."},
    {"shutdown_grace", member<&Timeouts::shutdown_grace>, "\"30 s\"", "0 s .. 1 day",
     "When stopping: for what is not handed over yet; an owed answer is awaited up to data_done."},
};

constexpr Key<Spool> spool_keys[] = {
    {"path", member<&Spool::path>, "\"/var/spool/postern\"", "a folder; it is made when missing",
     "Where the spool is: of one process, and best on a file system of its own.",
     nullptr, Flags::restart},
    {"min_free", member<&Spool::min_free>, "\"1 GiB\"", "0 B .. 1048576 GiB",
     "Below this much free space no message is spooled: queue answers 452 4.3.1, hybrid works as "
     "sync."},
};

constexpr Key<Limits> limits_keys[] = {
    {"message_size", member<&Limits::message_size>, "\"50 MiB\"", "1 B .. 2 GiB",
     "The largest message; past it 552 5.3.4."},
    {"recipients", member<&Limits::recipients>, "1000", "1 .. 100000",
     "Recipients of one message; past them 452 4.5.3."},
    {"connections", member<&Limits::connections>, "100000", "1 .. 10000000",
     "Senders connected at a time; lowered at start to what the descriptor limit allows. In a "
     "listener: to that listener.",
     nullptr, Flags::restart},
    {"connections_per_client", member<&Limits::connections_per_client>, "100", "0 .. 10000000",
     "The same for an IPv4 address or IPv6 /64; 0: no limit. [relay] and proxy networks are "
     "exempt."},
    {"received_max", member<&Limits::received_max>, "100", "1 .. 10000",
     "Received: lines before a message is taken for a loop."},
    {"errors", member<&Limits::errors>, "20", "1 .. 10000",
     "Bad commands in one session, refused RCPTs not counted; past them the session is closed."},
    {"body_memory", member<&Limits::body_memory>, "\"1 GiB\"", "1 MiB .. 1024 GiB",
     "Memory for bodies, over all workers; a client network gets an eighth of it. At the bound: "
     "452 4.3.1.",
     nullptr, Flags::restart | Flags::process_wide},
    {"connection_rate", member<&Limits::connection_rate>, "0", "0 .. 1000000000",
     "Connections of one client (IPv4 address or IPv6 /64) in a minute, past them 421 4.7.0; 0: no limit. Who is exempt "
     "from connections_per_client is exempt from all rates."},
    {"message_rate", member<&Limits::message_rate>, "0", "0 .. 1000000000",
     "Messages (MAIL) of one client in a minute, past them 450 4.7.1; 0: no limit."},
    {"recipient_rate", member<&Limits::recipient_rate>, "0", "0 .. 1000000000",
     "Recipients (RCPT) of one client in a minute, refused ones included, past them 450 4.7.1; 0: no limit."},
    {"refused_rate", member<&Limits::refused_rate>, "0", "0 .. 1000000000",
     "Recipients of one client in a minute that were refused with a 5xx, past them 450 4.7.1 for all further "
     "ones; 0: no limit."},
    {"byte_rate", member<&Limits::byte_rate>, "0", "0 B .. 1024 GiB",
     "Octets of bodies of one client in a minute, past them 450 4.7.1 to MAIL or to the body; 0: no limit. Less "
     "than message_size keeps larger messages out."},
};

constexpr Key<Tls> tls_keys[] = {
    {"certificates", member<&Tls::certificates>, "[]", "tables { chain = FILE, key = FILE }",
     "Our certificates, each with its chain, and their keys. A sender gets the one for the name that it "
     "asks for, ECDSA before RSA; the first where it names nobody known here."},
};

constexpr Key<Admin> admin_keys[] = {
    {"address", member<&Admin::address>, "\"unix:/run/postern/admin.sock\"",
     "unix:PATH, or an address and a port",
     "Where commands and metrics are served; over TCP only GET /metrics, /health and /ready, "
     "unless token is set.",
     nullptr, Flags::restart},
    {"token", member<&Admin::token>, "\"\"", "printable ASCII without blanks, or nothing",
     "What a request over TCP must show to be obeyed; empty: none is.",
     check_word, Flags::secret},
};

constexpr Key<Log> log_keys[] = {
    {"format", member<&Log::format>, "\"json\"", "json | text",
     "One line an event, with the fields time, event, id, listener, client, helo, login, from, to, "
     "rule, generation, pool, host, reply, ms.",
     nullptr, Flags::restart},
    {"output", member<&Log::output>, "\"stderr\"", "stderr, stdout, or a file's path",
     "Where lines go; a file is opened again on SIGHUP.",
     nullptr, Flags::restart},
};

}  // namespace

template <> std::span<const Key<Config>> keys() { return top_keys; }
template <> std::span<const Key<Listener>> keys() { return listener_keys; }
template <> std::span<const Key<Rules>> keys() { return rules_keys; }
template <> std::span<const Key<Relay>> keys() { return relay_keys; }
template <> std::span<const Key<Pool>> keys() { return pool_keys; }
template <> std::span<const Key<Delivery>> keys() { return delivery_keys; }
template <> std::span<const Key<Retry>> keys() { return retry_keys; }
template <> std::span<const Key<Timeouts>> keys() { return timeouts_keys; }
template <> std::span<const Key<Spool>> keys() { return spool_keys; }
template <> std::span<const Key<Limits>> keys() { return limits_keys; }
template <> std::span<const Key<Tls>> keys() { return tls_keys; }
template <> std::span<const Key<Admin>> keys() { return admin_keys; }
template <> std::span<const Key<Log>> keys() { return log_keys; }

// clang-format on

}  // namespace postern::config
