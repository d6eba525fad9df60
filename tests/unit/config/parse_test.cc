#include "postern/config/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace postern::config {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The least that starts, in front of `more`: seven lines.
std::string with(const std::string& more) {
    return "[[listener]]\n"
           "address = \"127.0.0.1:2525\"\n"
           "[rules]\n"
           "files = [\"a.rules\"]\n"
           "[delivery]\n"
           "postmaster = \"pm@example.net\"\n"
           "#\n" +
           more;
}

Parsed read(const std::string& text) {
    return parse(text, "conf/postern.toml", "sys.example.net");
}

std::vector<std::string> texts(const std::vector<Problem>& problems) {
    std::vector<std::string> texts;
    for (const Problem& problem : problems) {
        texts.push_back(problem.format());
    }
    return texts;
}

std::vector<std::string> errors(const std::string& text) {
    return texts(read(text).errors);
}

Config good(const std::string& text) {
    Parsed parsed = read(text);
    EXPECT_THAT(texts(parsed.errors), IsEmpty());
    return parsed.config.value_or(Config{});
}

TEST(Parse, DefaultsAreThoseOfTheContract) {
    const Config config = good(with(""));
    EXPECT_EQ(config.hostname, "sys.example.net");
    EXPECT_EQ(config.workers, 0U);
    EXPECT_EQ(config.rules.shrink_max.value, 20U);
    EXPECT_EQ(config.rules.recipient_delimiter, "+");
    EXPECT_TRUE(config.relay.networks.empty());
    EXPECT_FALSE(config.relay.soft_reject);
    EXPECT_EQ(config.delivery.mode, Mode::hybrid);
    EXPECT_EQ(config.delivery.hybrid_deadline, 20s);
    EXPECT_EQ(config.delivery.sync_limit, 9min);
    EXPECT_EQ(config.delivery.defer, Defer::pass);
    EXPECT_EQ(config.retry.first, 1min);
    EXPECT_EQ(config.retry.max, 1h);
    EXPECT_EQ(config.retry.expire, 120h);
    EXPECT_EQ(config.timeouts.command, 5min);
    EXPECT_EQ(config.timeouts.data, 3min);
    EXPECT_EQ(config.timeouts.connect, 30s);
    EXPECT_EQ(config.timeouts.reply, 5min);
    EXPECT_EQ(config.timeouts.busy, 10s);
    EXPECT_EQ(config.timeouts.data_done, 10min);
    EXPECT_EQ(config.timeouts.shutdown_grace, 30s);
    EXPECT_EQ(config.spool.path, "/var/spool/postern");
    EXPECT_EQ(config.spool.min_free.octets, 1U << 30);
    EXPECT_EQ(config.limits.message_size.octets, 50U << 20);
    EXPECT_EQ(config.limits.recipients, 1000U);
    EXPECT_EQ(config.limits.connections, 100000U);
    EXPECT_EQ(config.limits.connections_per_client, 100U);
    EXPECT_EQ(config.limits.received_max, 100U);
    EXPECT_EQ(config.limits.errors, 20U);
    EXPECT_EQ(config.limits.body_memory.octets, 1U << 30);
    EXPECT_EQ(config.limits.byte_rate.octets, 0U);
    EXPECT_EQ(config.admin.address.socket, "/run/postern/admin.sock");
    EXPECT_EQ(config.log.format, LogFormat::json);
    EXPECT_EQ(config.log.output.kind, LogOutput::Kind::standard_error);
    ASSERT_EQ(config.listeners.size(), 1U);
    const Listener& listener = config.listeners[0];
    EXPECT_EQ(listener.address, (Endpoint{"127.0.0.1", 2525, true}));
    EXPECT_EQ(listener.name, "127.0.0.1:2525");
    EXPECT_EQ(listener.tls, ListenerTls::none);
    EXPECT_EQ(listener.bare_newline, BareNewline::normalize);
    EXPECT_FALSE(listener.trusted);
    const Pool& pool = config.host_pool;
    EXPECT_EQ(pool.connections, 32U);
    EXPECT_EQ(pool.pipeline, 64U);
    EXPECT_EQ(pool.recipients_max, 100U);
    EXPECT_EQ(pool.tls, PoolTls::opportunistic);
    EXPECT_EQ(pool.helo, "sys.example.net");
    EXPECT_EQ(pool.max_age, 300s);
    EXPECT_EQ(pool.idle, 60s);
    EXPECT_FALSE(pool.send_8bit);
    EXPECT_EQ(pool.verify_unknown, VerifyUnknown::defer);
}

TEST(Parse, WhatASectionSaysIsInItsStruct) {
    const Config config = good("hostname = \"gw1.example.net\"\nworkers = 3\n" + with(R"(
sync_limit = "1 min"
notify_pool = "cluster-a"
[relay]
networks = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]
deny = ["192.0.2.9"]
soft_reject = true
[pool.cluster-b]
hosts = ["[2001:db8::1]:2526"]
delivery = "sync"
expire = "2 days"
tls = "none"
source = ["192.0.2.5"]
ehlo_ignore = ["chunking"]
helo = "[192.0.2.5]"
send_8bit = true
[pool.cluster-a]
hosts = ["10.1.0.2", "10.1.0.3:2525"]
backup = ["[2001:db8::2]:25"]
[limits]
message_size = "1 MiB"
recipients = 5
[admin]
address = "127.0.0.1:8025"
[log]
format = "text"
output = "log/postern.log"
)"));
    EXPECT_EQ(config.hostname, "gw1.example.net");
    EXPECT_EQ(config.workers, 3U);
    EXPECT_EQ(config.delivery.sync_limit, 1min);
    EXPECT_TRUE(config.relay.networks.contains(*base::IpAddress::parse("192.0.2.77")));
    EXPECT_TRUE(config.relay.networks.contains(*base::IpAddress::parse("2001:db8::1")));
    EXPECT_FALSE(config.relay.networks.contains(*base::IpAddress::parse("198.51.100.8")));
    EXPECT_TRUE(config.relay.deny.contains(*base::IpAddress::parse("192.0.2.9")));
    EXPECT_TRUE(config.relay.soft_reject);
    ASSERT_EQ(config.pools.size(), 2U);
    EXPECT_EQ(config.pools[0].name, "cluster-a");
    EXPECT_THAT(
        config.pools[0].hosts,
        ElementsAre(Endpoint{"10.1.0.2", 25, true}, Endpoint{"10.1.0.3", 2525, true}));
    EXPECT_THAT(config.pools[0].backup, ElementsAre(Endpoint{"2001:db8::2", 25, true}));
    EXPECT_EQ(config.pools[0].retry.expire, 120h);
    EXPECT_FALSE(config.pools[0].delivery_is_own);
    EXPECT_EQ(config.pools[0].helo, "gw1.example.net");
    const Pool& pool = config.pools[1];
    EXPECT_THAT(pool.hosts, ElementsAre(Endpoint{"2001:db8::1", 2526, true}));
    EXPECT_EQ(pool.retry.expire, 48h);
    EXPECT_TRUE(pool.delivery_is_own);
    EXPECT_EQ(pool.tls, PoolTls::none);
    EXPECT_THAT(pool.source, ElementsAre("192.0.2.5"));
    EXPECT_THAT(pool.ehlo_ignore, ElementsAre("CHUNKING"));
    EXPECT_EQ(pool.helo, "[192.0.2.5]");
    EXPECT_TRUE(pool.send_8bit);
    EXPECT_EQ(config.admin.address.endpoint, (Endpoint{"127.0.0.1", 8025, true}));
    EXPECT_EQ(config.log.format, LogFormat::text);
    EXPECT_EQ(config.log.output.path, "conf/log/postern.log");
    EXPECT_THAT(config.rules.files, ElementsAre("conf/a.rules"));
}

TEST(Parse, AListenerReplacesWhatIsGeneral) {
    const Config config = good(with(R"(
[limits]
recipients = 7
errors = 9
[[listener]]
address = "[::1]:2526"
trusted = true
bare_newline = "reject"
ehlo_hide = ["Chunking", "SIZE"]
recipients = 8
networks = ["10.0.0.0/8"]
postmaster = "other@example.net"
connections = 10
)"));
    ASSERT_EQ(config.listeners.size(), 2U);
    EXPECT_EQ(config.listeners[0].limits.recipients, 7U);
    const Listener& listener = config.listeners[1];
    EXPECT_EQ(listener.name, "[::1]:2526");
    EXPECT_TRUE(listener.trusted);
    EXPECT_EQ(listener.bare_newline, BareNewline::reject);
    EXPECT_THAT(listener.ehlo_hide, ElementsAre("CHUNKING", "SIZE"));
    EXPECT_EQ(listener.limits.recipients, 8U);
    EXPECT_EQ(listener.limits.errors, 9U);
    EXPECT_EQ(listener.limits.connections, 10U);
    EXPECT_TRUE(listener.relay.networks.contains(*base::IpAddress::parse("10.1.1.1")));
    EXPECT_FALSE(config.relay.networks.contains(*base::IpAddress::parse("10.1.1.1")));
    EXPECT_EQ(listener.delivery.postmaster, "other@example.net");
    EXPECT_EQ(config.delivery.postmaster, "pm@example.net");
}

TEST(Parse, EveryErrorComesInOneGoInTheFilesOrder) {
    EXPECT_THAT(
        errors(R"(workers = -1
hostnam = "x"
hostname = "my host"
frobnicate = 1
limits = 3
[[listener]]
address = "127.0.0.1"
[[listener]]
tls = "starttls"
[rules]
files = ["a.rules", 3]
recipient_delimiter = "++"
[relay]
networks = ["192.0.2.1/24", "x"]
message_size = "1 MiB"
[delivery]
notify_pool = "nix"
hybrid_deadline = "20 sec"
mode = "bla"
[pool."a.b"]
hosts = ["10.0.0.1"]
[pool.c]
[pool.d]
hosts = ["2001:db8::1"]
first = "2 h"
[timeouts]
command = 5
data = 1.5
)"),
        ElementsAre(
            "conf/postern.toml:1:11: workers: -1 is not allowed; allowed: a number from 0 to 1024",
            "conf/postern.toml:2:1: unknown key \"hostnam\"; did you mean hostname?",
            "conf/postern.toml:3:12: hostname: \"my host\" is not allowed; allowed: a host name",
            "conf/postern.toml:4:1: unknown key \"frobnicate\"; allowed: listener, rules, relay, "
            "pool, delivery, retry, timeouts, "
            "spool, limits, tls, admin, log, hostname, workers",
            "conf/postern.toml:5:1: limits is a section; allowed: [limits]",
            "conf/postern.toml:7:11: listener.address: \"127.0.0.1\" is not allowed; allowed: an "
            "address and a port, such as "
            "\"0.0.0.0:25\" or \"[::]:25\"",
            "conf/postern.toml:8:1: listener.address is missing; allowed: an address and a port, "
            "such as \"0.0.0.0:25\"",
            "conf/postern.toml:11:21: rules.files: 3 is not allowed; allowed: a list of files or "
            "globs; each must match something",
            "conf/postern.toml:12:23: rules.recipient_delimiter: \"++\" is not allowed; allowed: "
            "one character, or nothing: off",
            "conf/postern.toml:14:13: relay.networks: '192.0.2.1/24' has bits set behind its "
            "prefix; the network is 192.0.2.0/24; "
            "allowed: a list of networks, such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
            "conf/postern.toml:14:29: relay.networks: 'x' is no IPv4 or IPv6 address; allowed: a "
            "list of networks, such as "
            "\"192.0.2.0/24\" or \"2001:db8::/32\"",
            "conf/postern.toml:15:1: unknown key relay.\"message_size\"; it belongs to [limits]",
            "conf/postern.toml:17:1: delivery.notify_pool: there is no pool \"nix\"; allowed: the "
            "NAME of a [pool.NAME] of this file",
            "conf/postern.toml:18:19: delivery.hybrid_deadline: \"20 sec\" is not allowed; "
            "allowed: a duration from 100 ms to 1 h, "
            "such as \"20 s\"",
            "conf/postern.toml:19:8: delivery.mode: \"bla\" is not allowed; allowed: \"sync\", "
            "\"hybrid\", \"queue\"",
            "conf/postern.toml:20:7: pool.\"a.b\" is no pool; allowed: [pool.NAME] with a NAME of "
            "up to 63 letters, digits, '-' and "
            "'_', but not \"reject\" or \"defer\"",
            "conf/postern.toml:22:7: pool.c.hosts is missing; allowed: a list of hosts, such as "
            "[\"192.0.2.1:25\"]",
            "conf/postern.toml:23:7: pool.d.first is longer than pool.d.max; allowed: up to 1 h",
            "conf/postern.toml:24:10: pool.d.hosts: \"2001:db8::1\" is not allowed; allowed: a "
            "list of hosts, such as "
            "\"mx1.internal\", \"192.0.2.1:25\" or \"[2001:db8::1]:25\"",
            "conf/postern.toml:27:11: timeouts.command: 5 is not allowed; allowed: a duration from "
            "100 ms to 1 day, such as \"20 s\"",
            "conf/postern.toml:28:8: timeouts.data: a fraction or a date stands here; allowed: a "
            "duration from 100 ms to 1 day, such as "
            "\"20 s\""));
}

TEST(Parse, SyntaxErrorsHaveTheirPlace) {
    const Parsed parsed = read("a = [1,\n b");
    ASSERT_EQ(parsed.errors.size(), 1U);
    EXPECT_EQ(parsed.errors[0].line, 2U);
    EXPECT_THAT(parsed.errors[0].text, HasSubstr("this is no TOML: "));
    EXPECT_THAT(errors("a = 1\na = 2\n").at(0), HasSubstr("conf/postern.toml:2:"));
}

TEST(Parse, ALetterOutsideASCIIMayStandWhereSyntaxStands) {
    // U+03F3 and a few beside it, which the TOML library takes for unreachable in a bare key.
    for (const std::string_view letter : {"\u03f3", "\u00e4", "\u0100", "\u2100"}) {
        const Parsed parsed = parse(std::string(letter) + "$", "postern.toml", "gw.example.net");
        ASSERT_EQ(parsed.errors.size(), 1u) << letter;
        EXPECT_EQ(parsed.errors[0].line, 1u) << letter;
    }
}

TEST(Parse, ColumnsCountCharacters) {
    EXPECT_THAT(
        errors(with("[pool.a]\nhosts = [\"\u00e4\u00f6.example\", \"\u00fc\"]\n")),
        ElementsAre(
            HasSubstr(":9:10: "), HasSubstr(":9:24: pool.a.hosts: \"\\xc3\\xbc\" is not allowed")));
}

TEST(Parse, AbsurdValuesAreShownSafely) {
    EXPECT_THAT(
        errors(with("\"\\u001b[2J\\n\" = 1\n[log]\nformat = \"" + std::string(100, 'x') + "\"\n")),
        ElementsAre(
            HasSubstr(":8:1: unknown key delivery.\"\\x1b[2J\\x0a\"; allowed: mode, "),
            HasSubstr("log.format: \"" + std::string(80, 'x') + "...\" is not allowed")));
}

TEST(Parse, TheNearestKeyOfTheSameSectionIsSuggested) {
    EXPECT_THAT(
        errors(with("[limits]\nmesage_sise = 1\n")),
        ElementsAre(HasSubstr("did you mean message_size?")));
    EXPECT_THAT(
        errors(with("[[listener]]\naddress = \"[::]:25\"\nrecipents = 1\n")),
        ElementsAre(HasSubstr("did you mean recipients?")));
    EXPECT_THAT(
        errors(with("[pool.a]\nhosts = ['10.0.0.1']\nexpires = 1\n")),
        ElementsAre(HasSubstr("did you mean expire?")));
    EXPECT_THAT(
        errors(with("[limits]\nfoo = 1\n")),
        ElementsAre(HasSubstr("allowed: message_size, recipients, ")));
}

TEST(Parse, ListenersMayNotShareAnAddress) {
    EXPECT_THAT(
        errors(with("[[listener]]\naddress = \"[::ffff:127.0.0.1]:2525\"\n")),
        ElementsAre(HasSubstr(
            ":9:11: listener.address: \"[::ffff:127.0.0.1]:2525\" has a listener already")));
    EXPECT_THAT(errors(with("[[listener]]\naddress = \"127.0.0.1:2526\"\n")), IsEmpty());
    EXPECT_THAT(
        errors("[rules]\nfiles = ['a']\n[listener]\naddress = \"127.0.0.1:2526\"\n"),
        ElementsAre(HasSubstr(":3:2: listener is a list")));
    EXPECT_THAT(
        errors("listener = [3]\n[rules]\nfiles = ['a']\n"),
        ElementsAre(HasSubstr(":1:13: this is no listener")));
    EXPECT_THAT(
        errors("[rules]\nfiles = ['a']\n"), ElementsAre(HasSubstr(":1:1: there is no listener")));
}

TEST(Parse, WhatIsOneForTheProcessMayNotStandInAListener) {
    EXPECT_THAT(
        errors(with("[[listener]]\naddress = \"[::]:25\"\nbody_memory = \"1 "
                    "GiB\"\nallow_open_relay = true\n")),
        ElementsAre(
            HasSubstr(":10:1: listener.body_memory is one for the whole process; allowed: in "
                      "[limits] only"),
            HasSubstr(":11:1: listener.allow_open_relay is one for the whole process; allowed: in "
                      "[relay] only")));
}

TEST(Parse, WhatAPoolNeedsTwoKeysFor) {
    const std::string pool = "[pool.a]\nhosts = ['10.0.0.1']\n";

    const struct {
        const char* keys;
        const char* error;
    } rows[] = {
        {"tls_cert = 'a.pem'\n", ":10:1: pool.a.tls_cert needs tls_key beside it"},
        {"tls_key = 'a.pem'\n", ":10:1: pool.a.tls_key needs tls_cert beside it"},
        {"tls_key = 'a.pem'\ntls_cert = ''\n", ":10:1: pool.a.tls_key needs tls_cert beside it"},
        {"auth_user = 'u'\n", ":10:1: pool.a.auth_user needs auth_password_file beside it"},
        {"auth_password_file = 'p'\n",
         ":10:1: pool.a.auth_password_file needs auth_user beside it"},
    };

    for (const auto& row : rows) {
        EXPECT_THAT(errors(with(pool + row.keys)), ElementsAre(HasSubstr(row.error)));
    }
    EXPECT_THAT(
        errors(with(
            pool + "tls = 'verify'\ntls_ca = 'ca.pem'\ntls_cert = 'a'\ntls_key = 'b'\n"
                   "tls_name = 'mx.example'\nauth_user = 'u'\nauth_password_file = 'p'\n"
                   "xforward = true\n")),
        IsEmpty());
    EXPECT_THAT(
        errors(
            with(pool + "auth_user = '" + std::string(256, 'u') + "'\nauth_password_file = ''\n")),
        ::testing::Contains(HasSubstr("allowed: up to 255 octets of printable ASCII")));
}

TEST(Parse, FilesAreNamedWithTheirPlaces) {
    const Parsed parsed = read(with(
        "[pool.a]\nhosts = ['10.0.0.1']\ntls = 'verify'\n  tls_ca = 'ca.pem'\ntls_cert = ''\n"));
    ASSERT_TRUE(parsed.config);
    const auto named =
        std::find_if(parsed.files.begin(), parsed.files.end(), [](const NamedFile& each) {
            return each.key == "pool.a.tls_ca";
        });
    ASSERT_NE(named, parsed.files.end());
    EXPECT_EQ(named->path, "conf/ca.pem");
    EXPECT_EQ(named->line, 11U);
    EXPECT_EQ(named->column, 12U);
    EXPECT_TRUE(std::none_of(parsed.files.begin(), parsed.files.end(), [](const NamedFile& each) {
        return each.key == "pool.a.tls_cert";
    }));
}

TEST(Parse, WarnsOfPoolKeysThatDoNotWhatTheyPromise) {
    const std::string pool = "[pool.a]\nhosts = ['10.0.0.1']\n";
    EXPECT_THAT(
        texts(read(with(pool + "tls = 'none'\ntls_cert = 'a'\ntls_key = 'b'\n")).warnings),
        ElementsAre(HasSubstr(":11:1: pool.a.tls_cert: it is shown to no host with tls = "
                              "\"none\"")));
    EXPECT_THAT(
        texts(read(with(pool + "tls_ca = 'ca.pem'\n")).warnings),
        ElementsAre(HasSubstr(":10:1: pool.a.tls_ca: certificates are looked at with tls = "
                              "\"verify\" alone")));
    EXPECT_THAT(
        texts(read(with(pool + "tls = 'none'\nauth_user = 'u'\nauth_password_file = 'p'\n"))
                  .warnings),
        ElementsAre(HasSubstr(":11:1: pool.a.auth_user: with tls = \"none\" the password goes")));
}

TEST(Parse, AModeMayBeThePoolsTheListenersOrTheGeneralOne) {
    const Config config =
        good(with("mode = 'queue'\n[pool.a]\nhosts = ['10.0.0.1']\ndelivery = 'hybrid'\n"
                  "[pool.b]\nhosts = ['10.0.0.1']\ndefer = 'spool'\n"
                  "[[listener]]\naddress = \"[::]:25\"\nmode = 'sync'\n"));
    EXPECT_EQ(config.delivery.mode, Mode::queue);
    EXPECT_EQ(config.listeners[0].delivery.mode, Mode::queue);
    EXPECT_EQ(config.listeners[1].delivery.mode, Mode::sync);
    EXPECT_EQ(config.pools[0].delivery, Mode::hybrid);
    EXPECT_TRUE(config.pools[0].delivery_is_own);
    EXPECT_FALSE(config.pools[0].defer_is_own);
    EXPECT_EQ(config.pools[1].delivery, Mode::queue);
    EXPECT_FALSE(config.pools[1].delivery_is_own);
    EXPECT_TRUE(config.pools[1].defer_is_own);
}

TEST(Parse, TlsIsWhatCertificatesAllow) {
    const std::string listener = "[[listener]]\naddress = '127.0.0.1:26'\n";
    const std::string certificates =
        "[tls]\ncertificates = [{ chain = 'a.pem', key = '/b.key' },\n  { key = 'd', chain = 'c' "
        "}]\n";
    const Config plain = good(with(listener));
    EXPECT_EQ(plain.listeners.back().tls, ListenerTls::none);

    const Config config = good(with(listener + certificates));
    EXPECT_EQ(config.listeners.back().tls, ListenerTls::starttls);
    ASSERT_EQ(config.tls.certificates.size(), 2U);
    EXPECT_EQ(config.tls.certificates[0].chain, "conf/a.pem");
    EXPECT_EQ(config.tls.certificates[0].key, "/b.key");
    EXPECT_EQ(config.tls.certificates[1].chain, "conf/c");
    EXPECT_EQ(config.tls.certificates[1].line, config.tls.certificates[0].line + 1);
    EXPECT_EQ(config.tls.certificates[1].column, 3U);

    EXPECT_EQ(
        good(with(listener + "tls = 'none'\n" + certificates)).listeners.back().tls,
        ListenerTls::none);
    EXPECT_EQ(
        good(with(listener + "tls = 'implicit'\n" + certificates)).listeners.back().tls,
        ListenerTls::implicit);
    EXPECT_THAT(
        errors(with(listener + "tls = 'implicit'\n")),
        ElementsAre(HasSubstr("listener.tls: there are no [tls] certificates; allowed: ")));
    EXPECT_EQ(good(with(listener + "tls = 'none'\n")).listeners.back().tls, ListenerTls::none);
}

TEST(Parse, WhatIsReadAndUnusedIsStillChecked) {
    good(
        with("hybrid_deadline = '5 s'\ndefer = 'spool'\n[retry]\nfirst = '5 s'\n[spool]\npath = "
             "'spool'\n[pool.a]\nhosts = ['10.0.0.1']\n"
             "defer = 'pass'\nmax = '2 h'\ntls = 'opportunistic'\n"));
    EXPECT_EQ(good(with("[spool]\npath = 'spool'\n")).spool.path, "conf/spool");
    EXPECT_EQ(errors(with("[retry]\nfirst = '5'\n")).size(), 1U);
    EXPECT_EQ(errors(with("[spool]\npath = 5\n")).size(), 1U);
    EXPECT_THAT(
        errors(with("[spool]\npath = ''\n")),
        ElementsAre(HasSubstr("conf/postern.toml:9:1: spool.path is empty; allowed: a folder")));
    EXPECT_THAT(
        errors(with("[tls]\ncertificates = [{ chain = 'a', kee = 'b' }, 3]\n")),
        ElementsAre(
            HasSubstr("tls.certificates: this is no certificate; allowed: "),
            HasSubstr("this is no certificate")));
    EXPECT_EQ(errors(with("[admin]\naddress = 'unix:" + std::string(120, 'x') + "'\n")).size(), 1U);
    EXPECT_EQ(errors(with("[admin]\naddress = 'localhost:80'\n")).size(), 1U);
    EXPECT_EQ(
        good(with("[admin]\naddress = 'unix:run/a.sock'\n")).admin.address.socket,
        "conf/run/a.sock");
}

TEST(Parse, RangesHoldAtTheirEdges) {
    EXPECT_EQ(good(with("[limits]\nrecipients = 1\n")).limits.recipients, 1U);
    EXPECT_EQ(good(with("[limits]\nrecipients = 100000\n")).limits.recipients, 100000U);
    EXPECT_EQ(good(with("[timeouts]\nbusy = 0\n")).timeouts.busy, 0s);
    for (const char* bad :
         {"recipients = 0",
          "recipients = 100001",
          "recipients = 9223372036854775807",
          "recipients = '5'",
          "recipients = true",
          "message_size = '3 GiB'",
          "message_size = 5",
          "message_size = 0",
          "message_size = -1",
          "message_size = [1]",
          "message_size = {}",
          "message_size = 2020-01-01"}) {
        EXPECT_EQ(errors(with(std::string("[limits]\n") + bad + "\n")).size(), 1U) << bad;
    }
}

TEST(Parse, WarnsOfWhatWorksButSurprises) {
    EXPECT_THAT(texts(read(with("")).warnings), IsEmpty());
    EXPECT_THAT(
        texts(parse(with(""), "f", "gw").warnings),
        ElementsAre(HasSubstr("f:1:1: hostname: \"gw\" has no dot")));
    EXPECT_THAT(
        texts(read("hostname = 'gw'\n" + with("")).warnings),
        ElementsAre(HasSubstr(":1:1: hostname: \"gw\" has no dot")));
    EXPECT_THAT(
        texts(read("[[listener]]\naddress = '[::]:25'\n[rules]\nfiles = ['a']\n").warnings),
        ElementsAre(HasSubstr(":1:1: delivery.postmaster is not set")));
    EXPECT_THAT(
        texts(read(with("[limits]\nbody_memory = '80 MiB'\n")).warnings),
        ElementsAre(HasSubstr("no message over 10 MiB can come")));
}

TEST(Parse, TheSystemsNameMustBeOne) {
    EXPECT_THAT(
        texts(parse(with(""), "f", "my_host").errors),
        ElementsAre(HasSubstr("f:1:1: hostname: the system's name \"my_host\" can not be used")));
    EXPECT_THAT(texts(parse("hostname = 'a.b'\n" + with(""), "f", "my_host").errors), IsEmpty());
}

TEST(Parse, GlobsAreAskedForWithTheirFolder) {
    const Parsed parsed = parse(
        "listener = [{ address = '[::]:25' }]\nrules.files = ['b*', 'none', 'a*']\n",
        "/etc/postern/p.toml",
        "a.b",
        [](const std::filesystem::path& folder,
           const std::string& glob) -> std::vector<std::filesystem::path> {
            EXPECT_EQ(folder, "/etc/postern");
            if (glob == "none") {
                return {};
            }
            return {folder / glob, folder / "both"};
        });
    EXPECT_THAT(
        texts(parsed.errors),
        ElementsAre(HasSubstr("/etc/postern/p.toml:2:22: rules.files: \"none\" matches no file")));
}

/// Whatever the bytes are, there is an answer, and a configuration exactly when there is no error.
TEST(Parse, EveryCutOfAGoodFileIsAnswered) {
    const std::string whole =
        with("[pool.a]\nhosts = ['10.0.0.1']\nidle = '5 s'\n[limits]\nmessage_size = '1 MiB'\n");
    good(whole);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const Parsed parsed = read(whole.substr(0, size));
        EXPECT_EQ(parsed.config.has_value(), parsed.errors.empty());
        std::string damaged = whole;
        damaged[size] = '\x01';
        EXPECT_FALSE(read(damaged).config.has_value()) << size;
    }
}

TEST(Parse, DoesNotRepeatASecret) {
    for (const char* const value :
         {"\"s3cret with blanks\"", "\"s3cret\\u0007\"", "[\"s3cret\"]"}) {
        const auto found = errors(with(std::string("[admin]\ntoken = ") + value + "\n"));
        ASSERT_EQ(found.size(), 1u) << value;
        EXPECT_THAT(found.front(), HasSubstr("admin.token: "));
        EXPECT_THAT(found.front(), testing::Not(HasSubstr("s3cret")));
    }
}

TEST(Parse, AnOpenRelayIsRefused) {
    EXPECT_THAT(
        errors(with("[relay]\nnetworks = ['10.0.0.0/8', '0.0.0.0/0']\n")),
        ElementsAre(HasSubstr(":9:1: relay.networks holds the whole Internet")));
    EXPECT_THAT(
        errors(with("[[listener]]\naddress = '127.0.0.1:26'\nnetworks = ['::/0']\n")),
        ElementsAre(HasSubstr(":10:1: listener.networks holds the whole Internet")));
    EXPECT_THAT(
        errors(with("[relay]\nallow_open_relay = true\nnetworks = ['0.0.0.0/0']\n")), IsEmpty());
}

}  // namespace
}  // namespace postern::config
