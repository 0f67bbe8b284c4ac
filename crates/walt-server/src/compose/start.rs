//! Starting: networks, state, images, services, nodes, in this order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use walt_images::{Catalogue, PlatformKeys, Podman, Roots, Store, WaltLayer};
use walt_logs::LogStore;
use walt_model::{DeviceName, DeviceType, Mac, ServerConf};
use walt_netboot::NetbootError;
use walt_netboot::dhcp::{DhcpConfig, DhcpServer};
use walt_netboot::dns::{DnsConfig, DnsServer};
use walt_netboot::http::{HttpConfig, HttpServer};
use walt_netboot::policy::BootPolicy;
use walt_netboot::ra::RouterAdvertiser;
use walt_netboot::tftp::{TftpConfig, TftpServer};
use walt_nfs::{HandleKey, NfsConfig, NfsServer, RootId};

use super::{HANDOVER, Places};
use crate::machines::Machines;
use crate::net::{self, Networks, Stop};
use crate::node_access::Ssh;
use crate::otlp::Export;
use crate::persist::PersistDirs;
use crate::platform::{Place, Platform};
use crate::ports::{Ports, PortsConfig};
use crate::presence::Presence;
use crate::registry::{Device, Registry};
use crate::remotes::Remotes;
use crate::served::ServedImages;
use crate::services::Services;
use crate::state::{Snapshot, State};
use crate::swap::keeper;
use crate::tasks::Tasks;
use crate::web;
use crate::workflow::{self, boot_image, create, retention, upkeep, watchdog};

/// How long nodes that were booted before a restart have to connect again.
const COME_BACK: Duration = Duration::from_secs(30);

/// Starts everything. When it fails, what was made is undone.
pub(super) async fn start(
    conf: &ServerConf,
    places: &Places,
    cancel: CancellationToken,
) -> Result<Arc<Platform>> {
    let networks = net::up(conf, &places.state, &cancel).await.context("networks")?;
    match on_networks(&networks, conf, places, cancel).await {
        Ok(platform) => Ok(platform),
        Err(error) => {
            if let Err(error) = networks.down(Stop::KeepIfBusy).await {
                tracing::error!("networks: {error}");
            }
            Err(error)
        }
    }
}

async fn on_networks(
    networks: &Networks,
    conf: &ServerConf,
    places: &Places,
    cancel: CancellationToken,
) -> Result<Arc<Platform>> {
    let platform = open(networks, conf, places, Tasks::until(cancel)).await?;
    let listeners = Listeners::bind(&platform, conf).await?;
    let api = crate::api::bind(&places.socket())
        .with_context(|| format!("cannot open {}", places.socket().display()))?;

    // Before any name is used: what a crash cut is finished or undone.
    workflow::image::recover::all(&platform).await;
    // Roots first: a node must never be told that a file it holds is gone.
    serve_images(&platform).await;
    listeners.start(&platform);
    let tasks = platform.tasks.clone();
    tasks.spawn("boots", upkeep::write_boots(platform.clone(), tasks.token()));
    tasks.spawn("sweep", upkeep::sweep(platform.clone(), tasks.token()));
    tasks.spawn("image store", upkeep::watch_store(platform.clone(), tasks.token()));
    let limits = retention::limits(&conf.logs, platform.place.server_mac);
    tasks.spawn("log retention", retention::run(platform.clone(), limits, tasks.token()));
    tasks.spawn("boot watchdog", watchdog::run(platform.clone(), tasks.token()));
    workflow::image::shell::adopt(&platform).await;
    tasks.spawn("image shells", workflow::image::shell::expire(platform.clone(), tasks.token()));
    crate::workflow::image::build::remove_leftovers(&platform).await;
    tasks.serve("api", crate::api::serve(api, platform.clone(), tasks.token()));
    start_machines(&platform);
    Ok(platform)
}

/// Opens what is kept on disk and builds the platform around it.
async fn open(
    networks: &Networks,
    conf: &ServerConf,
    places: &Places,
    tasks: Tasks,
) -> Result<Arc<Platform>> {
    let state = State::open(&places.state.join("platform.db"))?;
    let logs = LogStore::open(&places.state.join("logs.db"), walt_logs::Options::default())?;
    let snapshot = state.load().await?;
    let readers = readers(&snapshot);
    let booted: Vec<Mac> =
        snapshot.nodes.iter().filter(|node| node.booted).map(|node| node.mac).collect();
    let nodes: Vec<Mac> = snapshot.nodes.iter().map(|node| node.mac).collect();
    let boots = upkeep::read_boots(&state, &nodes).await?;
    let registry = registry(networks, &state, snapshot).await?;
    for device in registry.devices() {
        drop(logs.name_issuer(device.mac, &device.name));
    }
    crate::capture::start(logs.sink(), networks.mac());

    let store =
        Store::At { root: places.state.join("containers"), runroot: places.run.join("containers") };
    // Not the token of the tasks: roots are released, with podman's help, after these have ended.
    let podman =
        Podman::open(store, &places.run, CancellationToken::new()).await.context("image store")?;
    let catalogue = Arc::new(Catalogue::open(podman.clone()).await.context("image store")?);
    let keys = PlatformKeys::open(&places.state).await.context("keys of the platform")?;
    let ssh = Ssh::new(keys.identity_file(), keys.known_hosts_file());
    let roots = Roots::open(podman, places.state.clone(), keys).await.context("image roots")?;
    let layer = WaltLayer::new(networks.subnet().server(), networks.mac().to_string());
    let index_dir = places.state.join("indexes");
    std::fs::create_dir_all(&index_dir)?;

    let mut wrong = Vec::new();
    let remotes = Remotes::open(&conf.registries, &places.state, |error| {
        tracing::error!("{error}");
        wrong.push(error.to_string());
    });

    let presence = Presence::new();
    for mac in booted {
        presence.believe(mac, Instant::now() + COME_BACK);
    }
    let interface = networks.interface().to_owned();
    Ok(Arc::new(Platform {
        machines: Machines::new(places.state.join("virtual"), interface.clone()),
        place: Place {
            subnet: networks.subnet(),
            interface,
            server_mac: networks.mac(),
            state_dir: places.state.clone(),
            run_dir: places.run.clone(),
            pxe_dir: places.pxe.clone(),
        },
        registry,
        firmwares: Default::default(),
        presence,
        boots,
        images: ServedImages::new(catalogue, roots, layer, index_dir, readers),
        remotes: remotes.context("directories of downloads")?,
        turns: Default::default(),
        recovery: Default::default(),
        sessions: Default::default(),
        holding: tokio::sync::Mutex::default(),
        persist: PersistDirs::open(&places.state).context("persistent directories")?,
        logs,
        state,
        changing: tokio::sync::Mutex::default(),
        ssh,
        tasks,
        counters: Default::default(),
        otlp: conf.otlp.clone().map(|otlp| Arc::new(Export::new(otlp))),
        said: Mutex::default(),
        problems: Mutex::new(wrong),
    }))
}

/// Which roots nodes were reading.
fn readers(snapshot: &Snapshot) -> Vec<(Mac, RootId)> {
    let parsed = snapshot.roots.iter().filter_map(|used| {
        let bytes = (0..16).map(|i| u8::from_str_radix(used.root.get(2 * i..2 * i + 2)?, 16).ok());
        let bytes: Option<Vec<u8>> = bytes.collect();
        Some((used.mac, RootId::from_bytes(bytes?.try_into().ok()?)))
    });
    parsed.collect()
}

/// The registry, with the device of the server itself as the networks say it is.
async fn registry(networks: &Networks, state: &State, snapshot: Snapshot) -> Result<Registry> {
    let (mac, subnet) = (networks.mac(), networks.subnet());
    let mut nodes = snapshot.nodes;
    let mut devices = Vec::new();
    let mut server = None;
    for row in snapshot.devices {
        if row.mac == mac {
            server = Some(Device::from_state(row, None));
        } else if row.device_type == DeviceType::Server
            || row.ip == Some(subnet.server())
            || row.name == DeviceName::SERVER
        {
            tracing::warn!(device = %row.name, "forgotten: it stood where the server is");
            state.remove_device(row.mac).await?;
        } else {
            let node = nodes.iter().position(|node| node.mac == row.mac);
            devices.push(Device::from_state(row, node.map(|index| nodes.swap_remove(index))));
        }
    }
    let mut server = server.unwrap_or_else(|| {
        Device::new(mac, DeviceName::server(), Some(subnet.server()), DeviceType::Server)
    });
    server.kind = DeviceType::Server;
    server.ip = Some(subnet.server());
    server.name = DeviceName::server();
    state.put_device(server.to_state(false).0).await?;
    devices.push(server);
    Ok(Registry::new(subnet, devices))
}

/// The sockets of all services, open but not answered yet.
struct Listeners {
    dhcp: DhcpServer,
    tftp: TftpServer,
    http: HttpServer,
    dns: DnsServer,
    nfs: NfsServer,
    ports: Ports,
    web: Vec<HttpServer>,
    advertiser: Option<RouterAdvertiser>,
    services: Services,
}

impl Listeners {
    async fn bind(platform: &Arc<Platform>, conf: &ServerConf) -> Result<Self> {
        let place = &platform.place;
        let server = place.subnet.server();
        let interface = Some(place.interface.clone());
        let network = Ipv4Net::new(place.subnet.network(), place.subnet.prefix_len())?;
        let services = Services(platform.clone());
        let policy: Arc<dyn BootPolicy> = Arc::new(services.clone());

        let dhcp = DhcpConfig::new(place.interface.clone(), server);
        let tftp = TftpConfig { interface: interface.clone(), ..TftpConfig::new(server) };
        let at = |port| SocketAddr::new(server.into(), port);
        let http = HttpConfig { interface: interface.clone(), ..HttpConfig::new(at(80)) };
        let dns =
            DnsConfig { interface, upstreams: upstreams(), ..DnsConfig::new(server, network) };
        let nfs = NfsConfig {
            tcp: vec![at(2049), at(111)],
            udp: vec![at(111)],
            handle_key: HandleKey::load_or_create(&place.state_dir.join("nfs-handle.key"))?,
        };
        let pages = web::routes(platform.clone(), conf.web.on_walt_net);
        // Without it, old boot ROMs only wait longer.
        let advertiser = match RouterAdvertiser::bind(&place.interface) {
            Ok(advertiser) => Some(advertiser),
            Err(error) => {
                tracing::warn!("no router advertisement: {error}");
                None
            }
        };
        Ok(Self {
            dhcp: taken_over(|| DhcpServer::bind(dhcp.clone(), policy.clone())).await?,
            tftp: taken_over(|| TftpServer::bind(tftp.clone(), policy.clone())).await?,
            http: HttpServer::bind(http, policy.clone(), Some(pages))?,
            dns: DnsServer::bind(dns, policy)?,
            nfs: NfsServer::bind(nfs, Arc::new(services.clone()))?,
            ports: Ports::bind(PortsConfig::new(server))?,
            web: web_pages(platform, conf),
            advertiser,
            services,
        })
    }

    fn start(self, platform: &Arc<Platform>) {
        let token = || platform.tasks.token();
        service(platform, "nfs", self.nfs.run(token()));
        service(platform, "node ports", self.ports.serve(Arc::new(self.services), token()));
        service(platform, "swap space", keeper::run(platform.clone(), token()));
        service(platform, "dns", self.dns.run(token()));
        service(platform, "http", self.http.run(token()));
        service(platform, "tftp", self.tftp.run(token()));
        service(platform, "dhcp", self.dhcp.run(token()));
        for web in self.web {
            service(platform, "web", web.run(token()));
        }
        if let Some(export) = &platform.otlp {
            service(platform, "OTLP export", export.clone().run(platform.clone(), token()));
        }
        if let Some(advertiser) = self.advertiser {
            service(platform, "router advertisement", advertiser.run(token()));
        }
    }
}

/// The sockets of the web API. A port that something else of this machine has is told: nodes do without.
fn web_pages(platform: &Arc<Platform>, conf: &ServerConf) -> Vec<HttpServer> {
    let bind = |address: &SocketAddr| {
        let pages = web::routes(platform.clone(), true);
        match HttpServer::bind_pages(HttpConfig::new(*address), pages) {
            Ok(server) => Some(server),
            Err(error) => {
                platform.complain(format!("web: {error} (web.listen in server.conf says where)"));
                None
            }
        }
    };
    conf.web.listen.iter().filter_map(bind).collect()
}

/// Opens a socket which a standby may be closing.
async fn taken_over<T>(bind: impl Fn() -> Result<T, NetbootError>) -> Result<T, NetbootError> {
    let began = Instant::now();
    loop {
        match bind() {
            Err(NetbootError::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && began.elapsed() < HANDOVER =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

/// Runs a service that is to run as long as the server: its end before, or its panic, makes the
/// platform unhealthy.
fn service(
    platform: &Arc<Platform>,
    name: &'static str,
    run: impl Future<Output = ()> + Send + 'static,
) {
    let running = platform.tasks.spawn(name, run);
    let (platform, tasks) = (platform.clone(), platform.tasks.clone());
    tasks.clone().spawn("watch of a service", async move {
        let _ = running.await;
        if !tasks.token().is_cancelled() {
            platform.complain(format!("{name}: stopped on its own (see the journal)"));
        }
    });
}

/// The IPv4 resolvers of this machine, itself excluded.
fn upstreams() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address =
            words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        let address: std::net::Ipv4Addr = address.parse().ok()?;
        (!address.is_loopback()).then(|| SocketAddr::new(address.into(), 53))
    });
    servers.collect()
}

/// Makes the images of all nodes ready, and those nodes still read.
async fn serve_images(platform: &Arc<Platform>) {
    let images = platform.registry.images_in_use();
    let made = images.iter().map(|image| boot_image::ready(platform, image));
    for error in futures_util::future::join_all(made).await.into_iter().filter_map(Result::err) {
        tracing::error!("{error}");
    }
    platform.images.adopt_readers().await;
}

/// Starts or adopts the machines of virtual nodes, each on its own.
fn start_machines(platform: &Arc<Platform>) {
    for device in platform.registry.devices().into_iter().filter(|device| device.is_virtual) {
        let platform = platform.clone();
        let tasks = platform.tasks.clone();
        tasks.spawn("virtual node", async move {
            if let Err(error) = create::resume_machine(&platform, &device).await {
                tracing::error!("{error}");
            }
        });
    }
}
