#include "postern/smtp/extension.h"

#include <gtest/gtest.h>

namespace postern::smtp {
namespace {

constexpr ExtensionSet all = 0xffff;

TEST(extension, parameters_are_read) {
    MailParameters parameters;
    EXPECT_EQ(
        parse_mail_parameters(" SIZE=12 body=8bitmime  SmtpUtf8", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, 12U);
    EXPECT_EQ(parameters.body_type, mail::BodyType::eight_bit_mime);
    EXPECT_TRUE(parameters.smtputf8);
}

TEST(extension, what_is_not_offered_is_not_known) {
    MailParameters parameters;
    EXPECT_EQ(parse_mail_parameters(" SIZE=12", 0, parameters), Answer::unknown_parameter);
    EXPECT_EQ(parse_mail_parameters("", 0, parameters), Answer::none);
    EXPECT_EQ(parse_mail_parameters(" PIPELINING", all, parameters), Answer::unknown_parameter);
}

TEST(extension, the_largest_size_is_a_number) {
    MailParameters parameters;
    EXPECT_EQ(parse_mail_parameters(" SIZE=18446744073709551615", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, UINT64_MAX);
    EXPECT_EQ(parse_mail_parameters(" SIZE=18446744073709551616", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, UINT64_MAX);
}

TEST(extension, keywords_are_found_in_any_case) {
    ASSERT_NE(find_extension("chunking"), nullptr);
    EXPECT_EQ(find_extension("chunking")->extension, Extension::chunking);
    EXPECT_EQ(find_extension("BINARYMIME"), nullptr);
    EXPECT_EQ(find_extension(""), nullptr);
}

}  // namespace
}  // namespace postern::smtp
