# Alarms on the KMS key of mongoose-kms-encrypted: others than the application use it, calls are denied or refused, records are
# opened in bulk. Needs a trail that logs read management events, those of KMS not excluded, to a log group of CloudWatch.

variable "key_arn" {
  description = "ARN of the KMS key"
  type        = string
}

variable "role_arn" {
  description = "ARN of the role of the application, who alone is to use the key"
  type        = string
}

variable "log_group_name" {
  description = "The log group to which the trail is delivered"
  type        = string
}

variable "openings_per_hour" {
  description = "More data keys opened in an hour are an alarm"
  type        = number
  default     = 1000
}

variable "email" {
  description = "Whom to tell"
  type        = string
}

variable "name" {
  description = "Names what is made"
  type        = string
  default     = "mongoose-kms-encrypted"
}

data "aws_caller_identity" "current" {}

resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "email" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.email
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = ["events.amazonaws.com", "cloudwatch.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      }
    ]
  })
}

resource "aws_cloudwatch_event_rule" "used_by_others" {
  name        = "${var.name}-used-by-others"
  description = "Others than the application use the KMS key of its records"
  state       = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  event_pattern = jsonencode({
    "source"      = ["aws.kms"]
    "detail-type" = ["AWS API Call via CloudTrail"]
    "detail" = {
      "eventSource" = ["kms.amazonaws.com"]
      "eventName"   = ["Decrypt", "ReEncrypt", { "prefix" = "GenerateDataKey" }]
      "resources"   = { "ARN" = [var.key_arn] }
      "userIdentity" = {
        "sessionContext" = {
          "sessionIssuer" = { "arn" = [{ "anything-but" = [var.role_arn] }, { "exists" = false }] }
        }
      }
    }
  })
}

resource "aws_cloudwatch_event_target" "used_by_others" {
  rule = aws_cloudwatch_event_rule.used_by_others.name
  arn  = aws_sns_topic.alarms.arn
}

resource "aws_cloudwatch_event_rule" "refused" {
  name        = "${var.name}-refused"
  description = "Calls by the KMS key of records are denied, or refused for a wrong context or key"
  state       = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  event_pattern = jsonencode({
    "source"      = ["aws.kms"]
    "detail-type" = ["AWS API Call via CloudTrail"]
    "detail" = {
      "eventSource" = ["kms.amazonaws.com"]
      "eventName"   = ["Decrypt", "ReEncrypt", { "prefix" = "GenerateDataKey" }]
      "errorCode"   = ["AccessDenied", "AccessDeniedException", "InvalidCiphertextException", "IncorrectKeyException"]
      "$or" = [
        { "resources" = { "ARN" = [var.key_arn] } },
        { "errorMessage" = [{ "wildcard" = "*${var.key_arn}*" }] }
      ]
    }
  })
}

resource "aws_cloudwatch_event_target" "refused" {
  rule = aws_cloudwatch_event_rule.refused.name
  arn  = aws_sns_topic.alarms.arn
}

resource "aws_cloudwatch_log_metric_filter" "openings" {
  name           = "${var.name}-openings"
  log_group_name = var.log_group_name
  pattern        = "{ ($.eventSource = \"kms.amazonaws.com\") && ($.eventName = \"Decrypt\") && ($.resources[0].ARN = \"${var.key_arn}\") && ($.errorCode NOT EXISTS) }"

  metric_transformation {
    namespace     = "MongooseKmsEncrypted"
    name          = "Openings-${var.name}"
    value         = "1"
    default_value = 0
  }
}

resource "aws_cloudwatch_metric_alarm" "many_openings" {
  alarm_name          = "${var.name}-many-openings"
  alarm_description   = "More records than usual are opened"
  namespace           = "MongooseKmsEncrypted"
  metric_name         = "Openings-${var.name}"
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = var.openings_per_hour
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}
