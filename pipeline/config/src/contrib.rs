//! The component types of the Go collector's distributions, so that one that is missing here can be told from one
//! that does not exist.

use crate::catalog::Kind;

/// Whether the Go collector's distributions have a component of that type, under its old or its new spelling.
pub(crate) fn has(kind: Kind, type_name: &str) -> bool {
    let names = match kind {
        Kind::Receiver => RECEIVERS,
        Kind::Processor => PROCESSORS,
        Kind::Exporter => EXPORTERS,
        Kind::Connector => CONNECTORS,
        Kind::Extension => EXTENSIONS,
    };
    // Old and new spellings differ in underscores only.
    let folded = type_name.replace('_', "");
    names.split_ascii_whitespace().any(|name| name == folded)
}

const RECEIVERS: &str = "activedirectoryds aerospike apache apachespark awscloudwatch awscontainerinsightreceiver \
    awsecscontainermetrics awsfirehose awss3 awsxray azureblob azureeventhub azuremonitor bigip carbon chrony \
    cloudflare cloudfoundry collectd couchdb datadog dockerstats elasticsearch envoyals expvar faro filelog \
    filestats flinkmetrics fluentforward github gitlab googlecloudmonitoring googlecloudpubsub googlecloudspanner \
    haproxy hostmetrics httpcheck icmpcheck iis influxdb jaeger jmx journald k8scluster k8sevents k8sobjects kafka \
    kafkametrics kubeletstats libhoney loki memcached mongodb mongodbatlas mysql namedpipe netflow nginx nop nsxt ntp \
    opencensus oracledb otelarrow otlp otlpjsonfile podmanstats postgresql prometheus prometheusremotewrite \
    prometheussimple pulsar purefa purefb rabbitmq receivercreator redis riak saphana signalfx skywalking snmp \
    snowflake solace splunkenterprise splunkhec sqlquery sqlserver sshcheck statsd stef syslog systemd tcpcheck \
    tcplog tlscheck udplog vcenter vcrreceiver wavefront webhookevent windowseventlog windowsperfcounters \
    yanggrpc zipkin zookeeper";

const PROCESSORS: &str = "attributes batch coralogix cumulativetodelta deltatocumulative deltatorate \
    dnslookup experimentalmetricsgeneration filter geoip groupbyattrs groupbytrace interval isolationforest \
    k8sattributes logdedup logstransform lookup memorylimiter metricsgeneration metricstarttime metricstransform \
    probabilisticsampler queuebatch redaction remotetap resource resourcedetection schema span spanpruning sumologic \
    tailsampling transform unroll";

const EXPORTERS: &str = "alertmanager alibabacloudlogservice awscloudwatchlogs awsemf awskinesis awss3 awsxray \
    azureblob azuredataexplorer azuremonitor bmchelix carbon cassandra clickhouse coralogix datadog dataset debug \
    doris elasticsearch faro file googlecloud googlecloudpubsub googlecloudstorage googlemanagedprometheus \
    honeycombmarker influxdb kafka loadbalancing logicmonitor logzio loki mezmo nop opensearch otelarrow otlp \
    otlpgrpc otlphttp prometheus prometheusremotewrite pulsar rabbitmq sapm sentry signalfx splunkhec stef sumologic \
    syslog tencentcloudlogservice tinybird zipkin";

const CONNECTORS: &str = "count datadog exceptions failover forward grafanacloud metricsaslogs otlpjson roundrobin \
    routing servicegraph signaltometrics slowsql spanmetrics sum";

const EXTENSIONS: &str = "ack asapclient avrologencoding awscloudwatchmetricstreamsencoding awslogsencoding awsproxy \
    azureauth azureencoding basicauth bearertokenauth cgroupruntime datadog dbstorage dockerobserver ecsobserver \
    ecstaskobserver filestorage googleclientauth googlecloudlogentryencoding headerssetter healthcheck healthcheckv2 \
    hostobserver httpforwarder jaegerencoding jaegerremotesampling jsonlogencoding k8sleaderelector k8sobserver \
    kafkatopicsobserver memorylimiter oauth2client oidc opamp otlpencoding pprof redisstorage remotetap sigv4auth \
    skywalkingencoding solarwindsapmsettings sumologic textencoding zipkinencoding zpages";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_spellings_are_both_known() {
        for name in ["filelog", "file_log", "hostmetrics", "host_metrics"] {
            assert!(has(Kind::Receiver, name), "{name}");
        }
        assert!(has(Kind::Exporter, "loadbalancing") && has(Kind::Exporter, "load_balancing"));
        assert!(!has(Kind::Exporter, "filelog") && !has(Kind::Receiver, ""));
    }
}
