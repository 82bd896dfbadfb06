plugins {
    id("com.android.application")
}

android {
    namespace = "keras_dcgan.android"
    compileSdk = 36
    defaultConfig {
        applicationId = "keras_dcgan.android"
        minSdk = 24 // LiteRT's
        targetSdk = 36
        versionCode = 1
        versionName = "1"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") } // 64-bit phones, the emulator: others are told at the installation, and not by a crash
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
    implementation("com.google.ai.edge.litert:litert-gpu:2.3.0") // without it there is no GPU to find
    testImplementation("junit:junit:4.13.2")
}
