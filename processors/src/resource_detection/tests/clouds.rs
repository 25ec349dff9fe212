//! Clouds and platforms, each with a service or a file as their documentation describes them. The names of attributes
//! and what is in them are the Go collector's.

use super::{Service, at, config, detect, texts, variables};

/// A service lives as long as the tests.
async fn serve(answers: &[(&'static str, &'static str)]) -> Service {
    Service::start(answers.to_vec().leak()).await
}

/// What a detector finds at a service that answers so.
async fn found(
    detector: &str,
    section: &str,
    answers: &[(&'static str, &'static str)],
) -> (Vec<String>, String) {
    let service = serve(answers).await;
    let yaml = format!("{{detectors: [{detector}], {section}: {{endpoint: '{}'}}}}", service.origin);
    let found =
        detect(&yaml, variables(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")])).await.expect("it answers");
    let asked = service.asked.lock().expect("not poisoned").join("\n");
    (texts(&found), asked)
}

#[tokio::test]
async fn clouds_with_one_document_say_what_they_are() {
    let droplet = r#"{"droplet_id":3071,"hostname":"box","region":"nyc3","auth_key":"x"}"#;
    let (attributes, _) = found("digitalocean", "digitalocean", &[("GET /metadata/v1.json", droplet)]).await;
    assert_eq!(
        attributes,
        ["cloud.provider=digitalocean", "host.id=3071", "host.name=box", "cloud.region=nyc3"]
    );

    let upcloud = r#"{"cloud_name":"upcloud","instance_id":"00","hostname":"box","region":"fi-hel1"}"#;
    let (attributes, _) = found("upcloud", "upcloud", &[("GET /metadata/v1.json", upcloud)]).await;
    assert_eq!(attributes, ["cloud.provider=upcloud", "cloud.region=fi-hel1", "host.id=00", "host.name=box"]);

    let vultr = r#"{"hostname":"box","instanceid":"7","instance-v2-id":"a-b","region":{"regioncode":"EWR"}}"#;
    let (attributes, _) = found("vultr", "vultr", &[("GET /v1.json", vultr)]).await;
    assert_eq!(attributes, ["cloud.provider=vultr", "host.id=a-b", "host.name=box", "cloud.region=ewr"]);
    let old = r#"{"hostname":"","instanceid":"7"}"#;
    let (attributes, _) = found("vultr", "vultr", &[("GET /v1.json", old)]).await;
    assert_eq!(attributes, ["cloud.provider=vultr", "host.id=7"]);

    let scaleway = r#"{"id":"i","name":"box","organization":"org","commercial_type":"DEV1-S",
        "image":{"id":"im","name":"Debian"},"location":{"zone_id":"fr-par-1"}}"#;
    let (attributes, _) = found("scaleway", "scaleway", &[("GET /conf?format=json", scaleway)]).await;
    assert_eq!(
        attributes,
        [
            "cloud.account.id=org",
            "cloud.provider=scaleway_cloud",
            "cloud.platform=scaleway_cloud_compute",
            "cloud.region=fr-par",
            "cloud.availability_zone=fr-par-1",
            "host.id=i",
            "host.image.id=im",
            "host.image.name=Debian",
            "host.name=box",
            "host.type=DEV1-S"
        ]
    );
}

#[tokio::test]
async fn oracle_s_machines_are_asked_for_politely() {
    let instance = r#"{"id":"ocid","displayName":"box","shape":"VM.E4","canonicalRegionName":"eu-frankfurt-1",
        "availabilityDomain":"AD-1","metadata":{"oke-cluster-display-name":"c1","realm":"oc1"}}"#;
    let answers = [("HEAD /opc/v2/instance/", ""), ("GET /opc/v2/instance/", instance)];
    let (attributes, asked) = found("oraclecloud", "oraclecloud", &answers).await;
    assert_eq!(
        attributes,
        [
            "cloud.provider=oracle_cloud",
            "cloud.platform=oracle_cloud_oke",
            "cloud.region=eu-frankfurt-1",
            "cloud.availability_zone=AD-1",
            "host.id=ocid",
            "host.name=box",
            "host.type=VM.E4",
            "k8s.cluster.name=c1",
            "oracle_cloud.realm=oc1"
        ]
    );
    assert_eq!(asked.matches("authorization: Bearer Oracle\r\n").count(), 2, "{asked}");
}

#[tokio::test]
async fn akamai_s_machines_are_asked_with_a_token() {
    let instance = r#"{"id":42,"label":"box","region":"us-iad","type":"g6","account_euuid":"acc",
        "image":{"id":"linode/debian12","label":"Debian 12"}}"#;
    let answers = [("PUT /v1/token", r#"["T0KEN"]"#), ("GET /v1/instance", instance)];
    let (attributes, asked) = found("akamai", "akamai", &answers).await;
    assert_eq!(
        attributes,
        [
            "cloud.account.id=acc",
            "cloud.provider=akamai_cloud",
            "cloud.platform=akamai_cloud.compute",
            "cloud.region=us-iad",
            "host.id=42",
            "host.image.id=linode/debian12",
            "host.image.name=Debian 12",
            "host.name=box",
            "host.type=g6"
        ]
    );
    assert!(asked.contains("metadata-token-expiry-seconds: 3600\r\n"), "{asked}");
    assert!(asked.contains("metadata-token: T0KEN\r\n"), "{asked}");
}

#[tokio::test]
async fn openstack_s_machines_may_have_the_interface_of_ec2() {
    let document =
        r#"{"uuid":"u","hostname":"box.novalocal","project_id":"p","availability_zone":"nova","name":"box"}"#;
    let expected = [
        "host.type=m1.small",
        "cloud.provider=openstack",
        "cloud.platform=openstack_nova",
        "cloud.account.id=p",
        "cloud.availability_zone=nova",
        "host.id=u",
        "host.name=box.novalocal",
    ];
    let answers = [
        ("GET /openstack/latest/meta_data.json", document),
        ("GET /latest/meta-data/instance-type", "m1.small"),
    ];
    assert_eq!(found("nova", "nova", &answers).await.0, expected);
    assert_eq!(found("nova", "nova", &answers[..1]).await.0, expected[1..]);
}

#[tokio::test]
async fn clouds_that_answer_for_each_thing_are_asked_for_each() {
    let (attributes, _) = found(
        "hetzner",
        "hetzner",
        &[
            ("GET /hetzner/v1/metadata/hostname", "box\n"),
            ("GET /hetzner/v1/metadata/instance-id", "42"),
            ("GET /hetzner/v1/metadata/region", "eu-central"),
            ("GET /hetzner/v1/metadata/availability-zone", "fsn1-dc14"),
        ],
    )
    .await;
    assert_eq!(
        attributes,
        [
            "cloud.provider=hetzner",
            "host.name=box",
            "host.id=42",
            "cloud.region=eu-central",
            "cloud.availability_zone=fsn1-dc14"
        ]
    );

    let (attributes, asked) = found(
        "alibaba_ecs",
        "alibaba_ecs",
        &[
            ("PUT /latest/api/token", "T0KEN"),
            ("GET /latest/meta-data/hostname", "box"),
            ("GET /latest/meta-data/image-id", "im"),
            ("GET /latest/meta-data/instance-id", "i"),
            ("GET /latest/meta-data/instance/instance-type", "ecs.g6"),
            ("GET /latest/meta-data/owner-account-id", "12"),
            ("GET /latest/meta-data/region-id", "cn-hangzhou"),
            ("GET /latest/meta-data/zone-id", "cn-hangzhou-i"),
        ],
    )
    .await;
    let alibaba = [
        "cloud.provider=alibaba_cloud",
        "cloud.platform=alibaba_cloud_ecs",
        "host.name=box",
        "host.image.id=im",
        "host.id=i",
        "host.type=ecs.g6",
        "cloud.account.id=12",
        "cloud.region=cn-hangzhou",
        "cloud.availability_zone=cn-hangzhou-i",
    ];
    assert_eq!(attributes, alibaba);
    assert_eq!(asked.matches("x-aliyun-ecs-metadata-token: T0KEN\r\n").count(), 7, "{asked}");

    let (attributes, _) = found(
        "tencent_cvm",
        "tencent_cvm",
        &[
            ("GET /latest/meta-data/instance-name", "box"),
            ("GET /latest/meta-data/instance/image-id", "im"),
            ("GET /latest/meta-data/instance-id", "ins"),
            ("GET /latest/meta-data/instance/instance-type", "S5"),
            ("GET /latest/meta-data/app-id", "12"),
            ("GET /latest/meta-data/placement/region", "ap-guangzhou"),
            ("GET /latest/meta-data/placement/zone", "ap-guangzhou-3"),
        ],
    )
    .await;
    assert_eq!(attributes[0], "cloud.provider=tencent_cloud");
    assert_eq!(attributes[1], "cloud.platform=tencent_cloud_cvm");
    assert_eq!(attributes.len(), 9, "{attributes:?}");
}

#[tokio::test]
async fn a_task_of_ecs_says_where_its_other_containers_log() {
    let task = r#"{"Cluster":"prod","TaskARN":"arn:aws:ecs:us-west-2:111:task/prod/abc","Family":"shop","Revision":"7",
        "AvailabilityZone":"us-west-2a","LaunchType":"FARGATE","Containers":[
        {"DockerId":"own","Type":"NORMAL","KnownStatus":"RUNNING","LogDriver":"awslogs","LogOptions":{"awslogs-group":"no"}},
        {"DockerId":"gone","Type":"NORMAL","KnownStatus":"STOPPED","LogDriver":"awslogs","LogOptions":{"awslogs-group":"no"}},
        {"DockerId":"app","Type":"NORMAL","KnownStatus":"RUNNING","LogDriver":"awslogs","LogOptions":
        {"awslogs-group":"/ecs/shop","awslogs-region":"us-west-2","awslogs-stream":"s/1"}}]}"#;
    let service = serve(&[("GET /v4/x/task", task), ("GET /v4/x", r#"{"DockerId":"own"}"#)]).await;
    let uri = format!("{}/v4/x", service.origin);
    let surroundings =
        variables(&[("ECS_CONTAINER_METADATA_URI_V4", &uri), ("ECS_CONTAINER_METADATA_URI", "http://x")]);
    let attributes = detect("{detectors: [ecs]}", surroundings).await.expect("it answers");
    assert_eq!(
        texts(&attributes),
        [
            "cloud.provider=aws",
            "cloud.platform=aws_ecs",
            "aws.ecs.task.arn=arn:aws:ecs:us-west-2:111:task/prod/abc",
            "aws.ecs.task.family=shop",
            "aws.ecs.task.revision=7",
            "aws.ecs.cluster.arn=arn:aws:ecs:us-west-2:111:cluster/prod",
            "cloud.account.id=111",
            "cloud.region=us-west-2",
            "aws.ecs.task.id=abc",
            "cloud.availability_zone=us-west-2a",
            "aws.ecs.launchtype=fargate",
            "aws.log.group.names=/ecs/shop",
            "aws.log.group.arns=arn:aws:logs:us-west-2:111:log-group:/ecs/shop",
            "aws.log.stream.names=s/1",
            "aws.log.stream.arns=arn:aws:logs:us-west-2:111:log-group:/ecs/shop:log-stream:s/1"
        ]
    );
}

#[tokio::test]
async fn microsoft_s_kubernetes_names_its_cluster_if_it_is_asked_to() {
    const PATH: &str = "GET /metadata/instance/compute?api-version=2020-09-01&format=json";
    for (group, cluster) in [
        (r#"{"resourceGroupName":"MC_group_AKSCluster_eastus"}"#, "AKSCluster"),
        (r#"{"resourceGroupName":"dev_infra_group_name"}"#, "dev_infra_group_name"),
        (r#"{"resourceGroupName":"MC_a_b_c_d"}"#, "MC_a_b_c_d"),
    ] {
        let service = serve(&[(PATH, group)]).await;
        let yaml = format!(
            "{{detectors: [aks], azure: {{endpoint: '{}'}}, aks: {{resource_attributes: {{k8s.cluster.name: {{enabled: true}}}}}}}}",
            service.origin
        );
        let here = variables(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
        let attributes = texts(&detect(&yaml, here).await.expect("it answers"));
        let name = format!("k8s.cluster.name={cluster}");
        assert_eq!(attributes, ["cloud.provider=azure", "cloud.platform=azure.aks", name.as_str()]);
        assert!(detect(&yaml, variables(&[])).await.expect("not in Kubernetes").is_empty());
    }
}

#[tokio::test]
async fn consul_s_agent_is_asked_with_its_token_for_what_is_allowed() {
    let agent = r#"{"Config":{"NodeName":"box","Datacenter":"dc1","NodeID":"id"},"Meta":{"rack":"r1","secret":"no"}}"#;
    let service = serve(&[("GET /v1/agent/self?dc=dc1", agent)]).await;
    let address = service.origin.trim_start_matches("http://").to_owned();
    let yaml = format!(
        "{{detectors: [consul], consul: {{address: '{address}', datacenter: dc1, token: T0KEN, meta: {{rack: , other: x}}}}}}"
    );
    let attributes = detect(&yaml, variables(&[])).await.expect("it answers");
    assert_eq!(texts(&attributes), ["host.name=box", "cloud.region=dc1", "host.id=id", "rack=r1"]);
    assert!(service.asked.lock().expect("not poisoned")[0].contains("x-consul-token: T0KEN\r\n"));
    assert!(!format!("{:?}", config(&yaml)).contains("T0KEN"), "the token is shown");
}

#[tokio::test]
async fn platforms_leave_files_and_variables() {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        (
            "var/elasticbeanstalk/xray/environment.conf",
            r#"{"deployment_id":23,"version_label":"v-1","environment_name":"BETA"}"#,
        ),
        (
            "var/lib/dynatrace/enrichment/dt_host_metadata.properties",
            "dt.entity.host=HOST-1\nother=x\nhost.name=box=1\nrubbish\ndt.smartscape.host=\n",
        ),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let names = [("CONTAINER_APP_NAME", "app"), ("CONTAINER_APP_REPLICA_NAME", "app--1")];
    let find = async |detector: &str| {
        texts(&detect(&format!("{{detectors: [{detector}]}}"), at(root.path(), &names)).await.expect("found"))
    };
    assert_eq!(
        find("elastic_beanstalk").await,
        [
            "cloud.provider=aws",
            "cloud.platform=aws_elastic_beanstalk",
            "deployment.environment=BETA",
            "service.instance.id=23",
            "service.version=v-1"
        ]
    );
    assert_eq!(find("dynatrace").await, ["dt.entity.host=HOST-1", "host.name=box=1"]);
    assert_eq!(
        find("azurecontainerapps").await,
        [
            "cloud.provider=azure",
            "cloud.platform=azure.container_apps",
            "service.name=app",
            "azure.container_app.instance.id=app--1"
        ]
    );
}

/// All that ask a service or look for a file.
const ELSEWHERE: [&str; 15] = [
    "akamai",
    "alibaba_ecs",
    "azurecontainerapps",
    "consul",
    "digitalocean",
    "dynatrace",
    "ecs",
    "elastic_beanstalk",
    "hetzner",
    "nova",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
];

#[tokio::test]
async fn elsewhere_they_find_nothing_and_fail_only_if_they_are_to() {
    let service = Service::start(&[]).await;
    for detector in ELSEWHERE {
        let section = match detector {
            "ecs" | "elastic_beanstalk" | "azurecontainerapps" | "dynatrace" => String::new(),
            "consul" => format!("consul: {{address: '{}'}}, ", service.origin),
            other => format!("{other}: {{endpoint: '{}'}}, ", service.origin),
        };
        let yaml = format!("{{detectors: [{detector}], {section}retry: {{enabled: false}}}}");
        let nothing = detect(&yaml, variables(&[])).await;
        assert!(nothing.is_ok_and(|found| found.is_empty()), "{detector}");
        let yaml = yaml.replace("retry:", "fail_on_missing_metadata: true, retry:");
        let missing = detect(&yaml, variables(&[])).await;
        // These know that they are somewhere else, and say nothing of it; as in Go.
        let silent = ["dynatrace", "hetzner", "oraclecloud"].contains(&detector);
        assert_eq!(missing.is_ok(), silent, "{detector}: {missing:?}");
    }
}
