//! [`builder_methods!`](crate::builder_methods): the methods common to the builders of all clients.

/// Gives a client's builder the methods common to all clients. It needs the fields `config`, `mistakes` (a
/// list of [`ConfigError`](crate::ConfigError)), and `spawn`, `dial` and `carrier`, each of which may be
/// `None`; and the client's `Config` in scope.
#[macro_export]
macro_rules! builder_methods {
    ($builder:ty, $config:ty) => {
        /// # Common to all clients
        impl $builder {
            /// Sets a property by its Java name or one of librdkafka's: `.property("request.timeout.ms",
            /// 5000)`. [`build`](Self::build) reports its errors together with those of all others; later
            /// properties override earlier ones. A value may refer to a config provider that is set before it
            /// or after it.
            pub fn property(mut self, name: &str, value: impl ToString) -> Self {
                let set = $crate::config::set_in_any_order(&mut self.config, name, &value.to_string());
                self.mistakes.extend(set.err());
                self
            }

            /// Sets properties by name, in turn: see [`property`](Self::property). Properties of other
            /// programs are refused; [`Config::from_shared_properties`] ignores them.
            pub fn properties<N: AsRef<str>, V: ToString>(
                self,
                properties: impl IntoIterator<Item = (N, V)>,
            ) -> Self {
                properties
                    .into_iter()
                    .fold(self, |builder, (name, value)| builder.property(name.as_ref(), value))
            }

            /// Changes fields of the configuration.
            pub fn configure(mut self, change: impl FnOnce(&mut $config)) -> Self {
                change(&mut self.config);
                self
            }

            /// Passes the engine to this function, which has to run it on a tokio runtime until it ends.
            pub fn spawn_with(
                mut self,
                spawn: impl FnOnce($crate::engine::EngineFuture) + Send + 'static,
            ) -> Self {
                self.spawn = Some(Box::new(spawn));
                self
            }

            /// Connects to brokers this way instead of by plain TCP: through a proxy, or into a cluster that
            /// runs in this process.
            pub fn dial(mut self, dial: impl $crate::Dial) -> Self {
                self.dial = Some(std::sync::Arc::new(dial));
                self
            }

            /// Carries requests by this instead of by connections: the simulation of this project's own tests
            /// uses it to run engines without connections.
            #[doc(hidden)]
            pub fn carrier(mut self, carrier: Box<dyn $crate::engine::Carrier>) -> Self {
                self.carrier = Some(carrier);
                self
            }
        }
    };
}
