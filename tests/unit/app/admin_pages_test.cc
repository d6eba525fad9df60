#include "src/app/admin_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::app {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// How often each was asked.
struct Asked {
    int metrics = 0, route = 0, reload = 0, list = 0;
    std::vector<shard::QueueChange> changes;
    std::string token;
};

AdminAnswers answers(Asked& asked) {
    return {
        [&] {
            ++asked.metrics;
            return AdminAnswer{200, "text/plain", "numbers\n"};
        },
        [] {
            return AdminAnswer{200, "application/json", "{}\n"};
        },
        [] {
            return AdminAnswer{200, "text/plain", "ready\n"};
        },
        [&](const auto&, const auto&, bool) {
            ++asked.route;
            return AdminAnswer{200, "text/plain", "route\n"};
        },
        [&](bool, bool) {
            ++asked.reload;
            return AdminAnswer{200, "text/plain", "reloaded\n"};
        },
        [&](shard::QueueChange change, const QueueParameters& parameters) {
            if (change == shard::QueueChange::none) {
                ++asked.list;
            } else {
                asked.changes.push_back(change);
            }
            return AdminAnswer{
                200, "application/json", parameters.contains("domain") ? "{1}\n" : "{}\n"};
        },
        [&] { return asked.token; }};
}

config::AdminAddress at(std::string host) {
    config::AdminAddress address;
    if (host.starts_with('/')) {
        address.socket = host;
    } else {
        address.endpoint = {std::move(host), 8025, true};
    }
    return address;
}

int status(const std::string& answer) {
    return answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0;
}

std::string request(const std::string& line, const std::string& headers = "Host: localhost\r\n") {
    return line + " HTTP/1.1\r\n" + headers + "\r\n";
}

TEST(AdminPages, KnowsWhereARequestEnds) {
    EXPECT_EQ(admin_request_octets(""), std::nullopt);
    EXPECT_EQ(admin_request_octets("GET / HTTP/1.1\r\nHost: x\r\n"), std::nullopt);
    const std::string get = request("GET /metrics");
    EXPECT_EQ(admin_request_octets(get), get.size());
    EXPECT_EQ(admin_request_octets(get + "more"), get.size());
    const std::string post = request("POST /reload", "content-LENGTH: \t 7\r\nX: y\r\n");
    EXPECT_EQ(admin_request_octets(post), post.size() + 7);
    // In the body it is no header.
    EXPECT_EQ(admin_request_octets(get + "\r\nContent-Length: 9\r\n"), get.size());
    for (const char* const value : {"-1", "x", "", "99999999999999999999999"}) {
        const std::string odd =
            request("POST /reload", std::string("Content-Length: ") + value + "\r\n");
        EXPECT_EQ(admin_request_octets(odd), odd.size()) << value;
    }
    EXPECT_EQ(
        admin_request_octets(request("POST /reload", "Content-Length: 99999999\r\n")),
        admin_request_octets_max);
    EXPECT_EQ(
        admin_request_octets(std::string(admin_request_octets_max, 'x')), admin_request_octets_max);
    EXPECT_EQ(
        admin_request_octets(
            "GET / HTTP/1.1\r\nX: " + std::string(admin_request_octets_max, 'x') + "\r\n\r\n"),
        admin_request_octets_max);
}

TEST(AdminPages, OverAUnixSocketEverythingIsServed) {
    Asked asked;
    const AdminPages pages(at("/run/admin.sock"), answers(asked));
    EXPECT_EQ(status(pages.answer(request("GET /metrics", "Host: whatever\r\n"))), 200);
    EXPECT_EQ(status(pages.answer(request("GET /route?address=x@a.test"))), 200);
    EXPECT_EQ(status(pages.answer(request("POST /reload", "Content-Length: 0\r\n"))), 200);
    EXPECT_EQ(status(pages.answer(request("GET /reload"))), 404);
    EXPECT_EQ(asked.reload, 1);
}

TEST(AdminPages, TheQueueIsReadByGetAndChangedByPost) {
    Asked asked;
    const AdminPages pages(at("/run/admin.sock"), answers(asked));
    const auto post = [&](const std::string& path) {
        return pages.answer(request("POST " + path, "Content-Length: 0\r\n"));
    };
    EXPECT_THAT(pages.answer(request("GET /queue?domain=a.test")), HasSubstr("{1}"));
    EXPECT_EQ(asked.list, 1);
    EXPECT_EQ(status(post("/queue")), 404);
    EXPECT_EQ(status(post("/queue/drop")), 404);
    for (const char* const change : {"retry", "hold", "release", "remove"}) {
        EXPECT_THAT(post(std::string("/queue/") + change + "?domain=a.test"), HasSubstr("{1}"));
        EXPECT_EQ(status(pages.answer(request(std::string("GET /queue/") + change))), 404);
    }
    using shard::QueueChange;
    EXPECT_THAT(
        asked.changes,
        testing::ElementsAre(
            QueueChange::retry, QueueChange::hold, QueueChange::release, QueueChange::remove));
    EXPECT_EQ(asked.list, 1);
}

TEST(AdminPages, OverTcpAStrangerReadsThreePages) {
    Asked asked;
    const AdminPages pages(at("192.0.2.1"), answers(asked));
    for (const char* const line : {"GET /metrics", "HEAD /metrics", "GET /health", "GET /ready"}) {
        EXPECT_EQ(status(pages.answer(request(line, "Host: gw1.internal:8025\r\n"))), 200) << line;
    }
    for (const char* const line :
         {"POST /reload",
          "GET /queue",
          "POST /queue/remove?all=1",
          "GET /reload",
          "GET /route?address=x@a.test",
          "POST /metrics",
          "OPTIONS /metrics",
          "GET /",
          "GET //metrics",
          "GET /metrics/",
          "GET /%6detrics/..",
          "DELETE /ready",
          "CONNECT /metrics",
          "TRACE /metrics"}) {
        for (const char* const shown :
             {"", "Authorization: Bearer \r\n", "Authorization: Bearer\r\n"}) {
            const int told =
                status(pages.answer(request(line, std::string("Content-Length: 0\r\n") + shown)));
            EXPECT_TRUE(told == 403 || told == 400) << line << ' ' << told;
        }
    }
    EXPECT_EQ(asked.reload + asked.route + asked.list, 0);
    EXPECT_TRUE(asked.changes.empty());
}

TEST(AdminPages, ATokenOpensButToNoPageOfABrowser) {
    Asked asked;
    asked.token = "s3cret";
    const AdminPages pages(at("127.0.0.1"), answers(asked));
    const std::string token = "Authorization: Bearer s3cret\r\nContent-Length: 0\r\n";
    EXPECT_EQ(
        status(pages.answer(request("POST /reload", "Host: 127.0.0.1:8025\r\n" + token))), 200);
    EXPECT_EQ(status(pages.answer(request("POST /reload", "Host: [::1]:8025\r\n" + token))), 200);
    EXPECT_EQ(
        status(pages.answer(request("POST /reload", "Host: LocalHost:8025\r\n" + token))), 200);
    EXPECT_EQ(status(pages.answer(request("POST /reload", token))), 200);  // HTTP/1.0 has no Host
    EXPECT_EQ(asked.reload, 4);
    for (const char* const page :
         {"Origin: http://evil.test\r\n",
          "Origin: null\r\n",
          "Sec-Fetch-Site: cross-site\r\n",
          "Sec-Fetch-Site: same-origin\r\n",
          "Host: evil.test:8025\r\n",
          "Host: evil.test\r\n",
          "Host: 127.0.0.1.evil.test\r\n",
          "Host: localhost.evil.test\r\n"}) {
        EXPECT_EQ(status(pages.answer(request("POST /reload", page + token))), 403) << page;
        EXPECT_EQ(status(pages.answer(request("POST /queue/remove?all=1", page + token))), 403);
        EXPECT_EQ(status(pages.answer(request("GET /queue", page + token))), 403);
    }
    for (const char* const shown :
         {"",
          "Bearer",
          "Bearer ",
          "Bearer s3cre",
          "Bearer s3crett",
          "Bearer S3cret",
          "s3cret",
          "Bearer s3crets3cret",
          "bearer s3cret",
          "Basic s3cret"}) {
        EXPECT_EQ(
            status(pages.answer(request(
                "POST /reload",
                std::string("Content-Length: 0\r\nAuthorization: ") + shown + "\r\n"))),
            403)
            << shown;
    }
    EXPECT_EQ(asked.reload, 4);
}

TEST(AdminPages, ANameThatWasMadeToPointAtLoopbackReadsNothing) {
    Asked asked;
    const AdminPages pages(at("127.0.0.1"), answers(asked));
    EXPECT_EQ(status(pages.answer(request("GET /metrics", "Host: evil.test:8025\r\n"))), 403);
    EXPECT_EQ(asked.metrics, 0);
    EXPECT_EQ(status(pages.answer(request("GET /metrics", "Host: localhost:8025\r\n"))), 200);
    EXPECT_EQ(asked.metrics, 1);
}

TEST(AdminPages, NoAnswerInvitesPagesOfOthers) {
    Asked asked;
    const AdminPages pages(at("192.0.2.1"), answers(asked));
    for (const char* const line : {"GET /metrics", "OPTIONS /metrics", "OPTIONS /reload"}) {
        const std::string answer = pages.answer(
            request(line, "Origin: http://evil.test\r\nAccess-Control-Request-Method: POST\r\n"));
        EXPECT_THAT(answer, StartsWith("HTTP/1.1 "));
        EXPECT_THAT(answer, Not(HasSubstr("Access-Control-")));
    }
}

TEST(AdminPages, ASmallRequestHasASmallAnswer) {
    Asked asked;
    AdminAnswers large = answers(asked);
    large.metrics = [] { return AdminAnswer{200, "text/plain", std::string(100'000, 'x')}; };
    const AdminPages pages(at("192.0.2.1"), std::move(large));
    std::string ranges = "0-";
    while (ranges.size() < 8000) {
        ranges += ",0-";
    }
    for (const char* const name : {"Range", "range", "RANGE", "X: y\nRange"}) {
        const std::string answer = pages.answer(request(
            "GET /metrics", std::string("Host: x\r\n") + name + ": bytes=" + ranges + "\r\n"));
        EXPECT_EQ(status(answer), 200);
        EXPECT_LT(answer.size(), 101'000u);
    }
}

TEST(AdminPages, WhatIsNoRequestIsOver) {
    Asked asked;
    const AdminPages pages(at("192.0.2.1"), answers(asked));
    for (const std::string& odd :
         {std::string("\r\n\r\n"),
          std::string("what\r\n\r\n"),
          std::string(5000, '\0'),
          std::string("GET /metrics HTTP/9\r\n\r\n"),
          std::string("EHLO x\r\n\r\n"),
          request("POST /reload", "Transfer-Encoding: chunked\r\n") + "ffffffff\r\n",
          request("POST /reload", "Content-Length: 99999999\r\n") + "x",
          "GET /" + std::string(20000, 'x')}) {
        const int told = status(pages.answer(odd));
        EXPECT_TRUE(told == 0 || told >= 400) << told << ' ' << odd.substr(0, 40);
    }
    EXPECT_EQ(asked.metrics + asked.reload, 0);
}

}  // namespace
}  // namespace postern::app
